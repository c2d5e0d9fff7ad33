"""The traffic listener, wired: its sockets, TLS, PROXY headers, ceiling."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from sidecar.forward.dial import Dialler
from sidecar.forward.tls import TlsFiles, listener_files
from sidecar.listen.acceptor import Acceptor
from sidecar.listen.allocator import keep_buffers_apart
from sidecar.listen.descriptors import ceiling
from sidecar.listen.leaving import leave
from sidecar.listen.opening import Opening
from sidecar.listen.operators import OperatorSite, runner_of
from sidecar.listen.server import SidecarServer
from sidecar.listen.site import AcceptingSite
from sidecar.listen.sockets import bound_address, open_listeners
from sidecar.listen.trust import TrustedPeers
from sidecar.settings.address import TcpAddress, parse_address
from sidecar.settings.schema import Admin, Root
from sidecar.telemetry import names


@dataclass(slots=True, kw_only=True)
class Part:
    """What this process is of the sidecar: all of it, or one of several workers.

    Attributes:
        listeners: listening sockets that were opened before; none where it opens its own.
        has_siblings: whether other workers accept from the same sockets.
        lifeline: a descriptor that can be read when we are to stop; None without one.
        beat: to be called every `beat_seconds`, as a sign that the loop turns; None where nobody
            looks.
        beat_seconds: see `beat`.
        tls_files: filled when it runs: the files of TLS that a SIGHUP makes it look at.
        hurry: set when it is to end at once.
    """

    listeners: Sequence[socket.socket] = ()
    has_siblings: bool = False
    lifeline: int | None = None
    beat: Callable[[], None] | None = None
    beat_seconds: float = 1.0
    tls_files: list[TlsFiles] = field(default_factory=list)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


class TrafficListener:
    """Where clients connect.

    Args:
        root: the settings.
        server: makes protocols of connections.
        part: what this process is.

    Attributes:
        tls: the files of TLS; None for plain HTTP.
        opening: counts what failed before a request could be read.
        acceptor: counts what was refused.

    Raises:
        TlsFilesError: the files are no good.
    """

    def __init__(self, root: Root, server: SidecarServer, part: Part) -> None:
        listen = root.listen
        self._listen = listen
        self._server = server
        self._part = part
        self.tls = None if listen.tls is None else listener_files(listen.tls)
        if self.tls is not None:
            keep_buffers_apart()
            self.tls.changed = server.certificates_changed
        proxies = None
        if listen.proxy_protocol == "required":
            proxies = TrustedPeers(listen.proxy_protocol_from or root.forwarded.trusted)
        server.hurry = part.hurry
        self.opening = Opening(server, tls=self.tls, proxies=proxies)
        self.acceptor = Acceptor(self.opening, server.is_full, has_siblings=part.has_siblings)
        upstreams = sum(each.connections for each in root.upstreams.values())
        if any(rule.websocket is not None for rule in root.routes):
            # Each takes a connection to an upstream for itself, beside those of requests.
            upstreams += listen.limits.websockets
        server.most_connections = ceiling(
            listen.limits.connections, upstreams, root.admin.connections
        )

    @property
    def refused_late(self) -> int:
        """Connections beyond the ceiling that several accepted at once had hidden."""
        return self._server.refused_connections

    @asynccontextmanager
    async def accepting(self) -> AsyncIterator[str]:
        """Accept as long as the context lasts, and leave in order; gives the URL with its port.

        Raises:
            OSError: the sockets cannot be opened.
        """
        runner = web.ServerRunner(
            self._server, shutdown_timeout=self._listen.deadlines.drain_seconds
        )
        await runner.setup()
        listeners = self._part.listeners or open_listeners(
            parse_address(self._listen.address), self._listen.backlog
        )
        where = url_of(listeners[0], is_tls=self.tls is not None)
        await AcceptingSite(runner, self._server, self.acceptor, listeners).start()
        try:
            yield where
        finally:
            await leave(self._server, self._listen.deadlines.drain_delay_seconds)
            await runner.cleanup()


def url_of(listener: socket.socket, *, is_tls: bool) -> str:
    """How clients reach `listener`: a URL, or ``unix:/path``."""
    address = bound_address(listener)
    if not isinstance(address, TcpAddress):
        return str(address)
    return f"{'https' if is_tls else 'http'}://{address}"


@asynccontextmanager
async def kept_fresh(files: Sequence[TlsFiles]) -> AsyncIterator[None]:
    """Look at all of `files` every so often, as long as the context lasts."""
    tasks = [asyncio.create_task(each.keep_fresh(), name="tls files") for each in files]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def beating(beat: Callable[[], None] | None, seconds: float) -> AsyncIterator[None]:
    """Call `beat` every so often while the context lasts: the loop turns."""
    if beat is None:
        yield
        return

    async def go_on() -> None:
        while True:
            beat()
            await asyncio.sleep(seconds)

    task = asyncio.create_task(go_on(), name="beat")
    try:
        yield
    finally:
        task.cancel()


def stop_with_supervisor(lifeline: int, stop: asyncio.Event) -> None:
    """Set `stop` when the other end of `lifeline` is gone: nobody would start us again."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        # It stays readable: once is enough.
        loop.remove_reader(lifeline)
        stop.set()

    loop.add_reader(lifeline, end)


def tls_files(listener: TrafficListener, diallers: Mapping[str, Dialler]) -> list[TlsFiles]:
    """All files of TLS there are."""
    found = [listener.tls, *(dialler.tls for dialler in diallers.values())]
    return [files for files in found if files is not None]


def accept_gauges(
    listener: TrafficListener, files: list[TlsFiles]
) -> list[tuple[names.Metric, Callable[[], float]]]:
    """What accepting and TLS count."""
    acceptor = listener.acceptor
    gauges: list[tuple[names.Metric, Callable[[], float]]] = [
        (names.CLIENT_REFUSED, lambda: float(acceptor.refused + listener.refused_late)),
        (names.ACCEPT_PAUSES, lambda: float(acceptor.pauses)),
    ]
    if files:
        gauges += [
            (names.TLS_RELOADED, lambda: float(sum(each.reloaded for each in files))),
            (names.TLS_RELOAD_FAILED, lambda: float(sum(each.failed for each in files))),
            (names.TLS_EXPIRY, lambda: min(each.material.not_after for each in files)),
        ]
    return gauges


@asynccontextmanager
async def listening(application: web.Application, admin: Admin) -> AsyncIterator[str]:
    """Serve operators as long as the context lasts; gives the address with its real port.

    Raises:
        OSError: nothing can listen there.
    """
    address = parse_address(admin.address)
    runner = runner_of(application)
    await runner.setup()
    try:
        await OperatorSite(runner, address, admin.connections).start()
        if isinstance(address, TcpAddress):
            yield f"http://{TcpAddress(*runner.addresses[0][:2])}"
        else:
            yield str(address)
    finally:
        await runner.cleanup()
