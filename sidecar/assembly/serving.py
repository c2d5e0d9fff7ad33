"""Runs the sidecar: listeners up in order, down in the reverse one."""

import asyncio
import gc
import logging
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import uvloop
from aiohttp import web

from sidecar import __version__
from sidecar.assembly.deciding import Deciding, open_deciding
from sidecar.assembly.listening import (
    Part,
    TrafficListener,
    accept_gauges,
    beating,
    kept_fresh,
    listening,
    stop_with_supervisor,
    tls_files,
)
from sidecar.assembly.log import begin_log
from sidecar.assembly.measured import breakers, counters, gauges, regions
from sidecar.assembly.own import admin_api, cookie_of, own_endpoints, unready
from sidecar.assembly.relaying import RelayMetrics, relaying
from sidecar.assembly.tracing import Tracer, tracing
from sidecar.assembly.watchdog import Watchdog
from sidecar.audit.sink import AuditSink, open_sink
from sidecar.clock import Sweeper
from sidecar.endpoints.admin import AdminEndpoints
from sidecar.endpoints.metrics import Metrics
from sidecar.forward.answers import Answers
from sidecar.forward.dial import Dialler
from sidecar.forward.forwarder import Forwarder
from sidecar.forward.fuse import Fuse
from sidecar.forward.identifiers import Identifiers
from sidecar.forward.in_process import IN_PROCESS, connect_in_process
from sidecar.forward.pool import UpstreamPool
from sidecar.forward.request_fields import RequestFields
from sidecar.forward.response_fields import ResponseFields
from sidecar.gate import Gate, gate_of
from sidecar.listen.server import SidecarServer
from sidecar.listen.trust import TrustedPeers
from sidecar.pipeline import Pipeline
from sidecar.settings.address import TcpAddress, parse_upstream
from sidecar.settings.schema import Root, Upstream
from sidecar.sync.cancellation import end_tasks
from sidecar.telemetry import names
from sidecar.telemetry.meters import Meters

_LOG: Final = logging.getLogger("sidecar")
# After draining: what clients of stores and the admin listener take to close. Less than the
# supervisor's patience and than what a grace period of 30 seconds leaves of the defaults.
_CLOSING_SECONDS: Final = 4.0

Ready = Callable[[str, str], None]


def serve(root: Root, *, ready: Ready | None = None, part: Part | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the same signal once more ends at once.

    SIGHUP looks at the files of TLS.

    Args:
        root: checked settings.
        ready: called with the traffic and the admin address once both listen.
        part: what this process is of the sidecar; all of it where none is given.

    Returns:
        The exit code: 0 after an end in order, also where its deadline broke something off; 1
        when a listener could not be opened; 128 and the number of the signal when it came twice.
        Does not return when something keeps it from ending: see `watchdog`.
    """
    begin_log()
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    watchdog = Watchdog(runner.get_loop())
    try:
        with runner:
            return runner.run(_serve(root, ready, Part() if part is None else part, watchdog))
    except OSError as error:
        _LOG.error("cannot listen: %s", error.strerror or error)
        return 1
    finally:
        watchdog.disarm()


async def _serve(root: Root, ready: Ready | None, part: Part, watchdog: Watchdog) -> int:
    stop = asyncio.Event()
    received: list[int] = []

    def end(number: int) -> None:
        # The same one: Ctrl-C reaches all of a group, and a supervisor passes it on as SIGTERM.
        if number in received:
            part.hurry.set()
            watchdog.arm(_CLOSING_SECONDS)
        received.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, _look_at_files, part)
    if part.lifeline is not None:
        stop_with_supervisor(part.lifeline, stop)
    async with beating(part.beat, part.beat_seconds), running(root, part) as (traffic, admin):
        # What exists now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        _LOG.info("sidecar %s: traffic at %s, admin at %s", __version__, traffic, admin)
        if ready is not None:
            ready(traffic, admin)
        await stop.wait()
        _LOG.info("ending: what is in flight may finish")
        deadlines = root.listen.deadlines
        # The delay is waited for once before the last call, and at most once again in it.
        draining = 2 * deadlines.drain_delay_seconds + deadlines.drain_seconds
        watchdog.arm(draining + _CLOSING_SECONDS)
    # Questions of probes and calls of operators may still wait for a store.
    await end_tasks(asyncio.all_tasks() - {asyncio.current_task()})
    return 128 + received[-1] if part.hurry.is_set() else 0


def _look_at_files(part: Part) -> None:
    for files in part.tls_files:
        files.want()


@asynccontextmanager
async def running(root: Root, part: Part | None = None) -> AsyncIterator[tuple[str, str]]:
    """The whole sidecar, up; gives the traffic and the admin address.

    Raises:
        OSError: a listener or the audit file could not be opened.
    """
    part = Part() if part is None else part
    async with AsyncExitStack() as stack:
        audit = open_sink(root.audit.sink, root.audit.flush_seconds)
        if audit is not None:
            audit.start()
            stack.push_async_callback(audit.close)
        tracer = await stack.enter_async_context(tracing(root))
        deciding = await stack.enter_async_context(open_deciding(root))
        sweeper = Sweeper()
        sweeper.start()
        stack.callback(sweeper.stop)
        own = await stack.enter_async_context(own_endpoints(root, deciding))
        diallers = {name: Dialler(name, each) for name, each in root.upstreams.items()}
        pools = _pools(root, diallers, sweeper, own)
        for pool in pools.values():
            stack.push_async_callback(pool.close)
        meters = Meters()
        trusted = TrustedPeers(root.forwarded.trusted)
        gate = gate_of(
            limits=root.limits,
            connections=root.listen.limits.connections,
            rules=root.routes,
            table=deciding.snapshot.routes,
            authorizer=deciding.snapshot.authorizer,
            is_trusted=trusted.includes,
        )
        pipeline = _pipeline(root, deciding, meters, audit, gate, tracer)
        server = _traffic_server(root, pipeline, pools, sweeper, trusted, tracer)
        relay = await stack.enter_async_context(
            relaying(root, deciding, pipeline, server, pools, sweeper)
        )
        listener = TrafficListener(root, server, part)
        part.tls_files[:] = tls_files(listener, diallers)
        await stack.enter_async_context(kept_fresh(part.tls_files))
        api = admin_api(root, deciding, audit)
        of_relay = RelayMetrics(relay)
        metrics = Metrics(
            meters,
            pools,
            partial(regions, deciding),
            [
                *gauges(server, deciding, audit),
                *accept_gauges(listener, part.tls_files),
                *of_relay.gauges,
                *([] if gate is None else [(names.UNDER_WAY, lambda: float(gate.under_way))]),
            ],
            [
                *counters(deciding, listener, api),
                (names.CLIENT_SHED, server.budget.shed),
                *of_relay.counters,
            ],
            [(names.NEWS_LAG, deciding.watch.lag), *of_relay.histograms],
            [
                (names.ENTRY_SECONDS, deciding.memory.lifetimes),
                (names.UPSTREAM_BREAKER, partial(breakers, pools)),
                (names.HANDSHAKE_BREAKER, partial(breakers, server.forwarder.handshake_pools)),
            ],
            [*of_relay.tables, *tracer.tables],
        )
        admin = await stack.enter_async_context(
            listening(
                AdminEndpoints(
                    partial(unready, server, deciding), metrics.scrape, api
                ).application(),
                root.admin,
            )
        )
        await deciding.first_news()
        await deciding.warm()
        yield await stack.enter_async_context(listener.accepting()), admin


def _pipeline(
    root: Root,
    deciding: Deciding,
    meters: Meters,
    audit: AuditSink | None,
    gate: Gate | None,
    tracer: Tracer,
) -> Pipeline:
    return Pipeline(
        snapshot=deciding.snapshot,
        loader=deciding.tiers,
        load_seconds=root.stores.load_seconds,
        meters=meters,
        audit=audit,
        audit_permits=root.audit.permits,
        gate=gate,
        tickets=deciding.tickets,
        propagation=tracer.propagation,
        traces=tracer.traces,
    )


def _traffic_server(
    root: Root,
    pipeline: Pipeline,
    pools: dict[str, UpstreamPool],
    sweeper: Sweeper,
    trusted: TrustedPeers,
    tracer: Tracer,
) -> SidecarServer:
    cookie = cookie_of(root)
    forwarder = Forwarder(
        request_fields=RequestFields(root.identity, root.forwarded, cookie),
        response_fields=ResponseFields(root.forwarded.request_id, cookie),
        answers=Answers(root.credentials, root.forwarded.request_id, root.help_text),
        identifiers=Identifiers(root.forwarded),
        propagation=tracer.propagation,
        pools=pools,
        hosts={
            name: _authority(upstream)
            for name, upstream in root.upstreams.items()
            if not upstream.keep_host
        },
        authorities={name: _authority(upstream) for name, upstream in root.upstreams.items()},
        ended=pipeline.ended,
    )
    return SidecarServer(
        settings=root.listen,
        forwarder=forwarder,
        trusted=trusted,
        begin=pipeline.begin,
        sweeper=sweeper,
    )


def _pools(
    root: Root, diallers: dict[str, Dialler], sweeper: Sweeper, own: web.AppRunner
) -> dict[str, UpstreamPool]:
    pools = {
        name: UpstreamPool(name, upstream, diallers[name], sweeper, _fuse(root, upstream))
        for name, upstream in root.upstreams.items()
    }
    if own.server is None:  # unreachable: the runner was set up
        raise AssertionError("the in-process application is not running")
    pools[IN_PROCESS] = UpstreamPool(
        IN_PROCESS,
        Upstream(url=IN_PROCESS, idle_seconds=60.0),
        partial(connect_in_process, own.server),
        sweeper,
    )
    return pools


def _fuse(root: Root, upstream: Upstream) -> Fuse | None:
    if upstream.breaker is None or not root.features.circuit_breaker:
        return None
    return Fuse(upstream.breaker, random.random)


def _authority(upstream: Upstream) -> bytes:
    address = parse_upstream(upstream.url)
    return str(address).encode() if isinstance(address, TcpAddress) else b"localhost"
