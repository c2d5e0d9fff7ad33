"""WebSockets and other connections that last, wired."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from sidecar.assembly.deciding import Deciding
from sidecar.assembly.messages import MessageGates
from sidecar.clock import Sweeper
from sidecar.forward.connection import reset
from sidecar.forward.exchange import Exchange
from sidecar.forward.pool import UpstreamPool
from sidecar.listen.pace import backlog
from sidecar.listen.server import SidecarServer
from sidecar.pipeline import Pipeline
from sidecar.relay.lives import Lives
from sidecar.relay.opening import Relay
from sidecar.relay.streams import Streams
from sidecar.settings.schema import Root
from sidecar.telemetry import names


@asynccontextmanager
async def relaying(
    root: Root,
    deciding: Deciding,
    pipeline: Pipeline,
    server: SidecarServer,
    pools: dict[str, UpstreamPool],
    sweeper: Sweeper,
) -> AsyncIterator[Relay]:
    """Relay WebSockets as long as the context lasts.

    Args:
        root: the settings.
        deciding: what decisions are made from.
        pipeline: makes them.
        server: whose connections they begin as.
        pools: connections to upstreams for requests.
        sweeper: looks at deadlines.
    """
    lives = Lives(
        deciding.memory,
        deciding.snapshot.credentials,
        pipeline,
        lease_seconds=root.cache.lease_seconds,
        sweeper=sweeper,
    )
    forwarder = server.forwarder
    forwarder.handshake_pools = {
        name: pool.for_handshakes() for name, pool in pools.items() if name in root.upstreams
    }

    relay = Relay(
        lives,
        deadlines=root.listen.deadlines,
        most=root.listen.limits.websockets,
        parameters=deciding.snapshot.credentials.parameters,
        gate_of=MessageGates(root.routes, deciding.snapshot.routes.routes),
        reset=reset,
        backlog=backlog,
        budget=server.budget,
        ended=pipeline.closed,
        sweeper=sweeper,
        keeps_journals=forwarder.propagation.is_recording,
    )
    forwarder.switches = relay
    server.relays = relay
    deciding.follower.changed = lives.heard

    def under_way() -> list[Exchange]:
        """Our own endpoints are asked to end what they are asked by: they answer first."""
        return [
            exchange
            for name, pool in pools.items()
            for exchange in pool.under_way()
            if exchange.status or name in root.upstreams
        ]

    relay.streams = Streams(lives, under_way, sweeper, relay.now)
    try:
        yield relay
    finally:
        deciding.follower.changed = None
        relay.cut()
        await lives.stop()
        for pool in forwarder.handshake_pools.values():
            await pool.close()


class RelayMetrics:
    """What is exported of a relay.

    Args:
        relay: the relay.
    """

    def __init__(self, relay: Relay) -> None:
        self.gauges: list[tuple[names.Metric, Callable[[], float]]] = [
            (names.WEBSOCKETS, lambda: float(len(relay))),
            (names.LIVES, lambda: float(len(relay.lives))),
        ]
        self.histograms = [
            (names.WEBSOCKET_LAG, relay.lives.lag),
            (names.WEBSOCKET_JUDGING, relay.counts.judging),
        ]
        self.tables: list[tuple[names.Metric, Callable[[], Mapping[tuple[str, ...], int]]]] = [
            (names.WEBSOCKET_MESSAGES, lambda: relay.report().messages),
            (names.WEBSOCKET_BYTES, lambda: relay.counts.octets),
            (names.WEBSOCKET_CLOSES, lambda: relay.counts.closes),
        ]
        streams = relay.streams
        self.counters = [(names.RESPONSES_ENDED, {} if streams is None else streams.ended)]
