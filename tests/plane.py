"""The data plane without stores: a real server before a scripted upstream, and raw clients."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
from aiohttp import web

from sidecar.authenticate.credential import CredentialRules
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.principal import IdentityFields
from sidecar.cache.memory import Memory
from sidecar.clock import Sweeper
from sidecar.decide import Snapshot, decide
from sidecar.forward.answers import Answers
from sidecar.forward.dial import Dialler
from sidecar.forward.exchange import Exchange
from sidecar.forward.forwarder import Forwarder
from sidecar.forward.fuse import Fuse
from sidecar.forward.identifiers import Identifiers
from sidecar.forward.pool import UpstreamPool
from sidecar.forward.request_fields import RequestFields
from sidecar.forward.response_fields import ResponseFields
from sidecar.forward.tls import TlsFiles, listener_files
from sidecar.gate import gate_of
from sidecar.listen.acceptor import Acceptor
from sidecar.listen.opening import Opening
from sidecar.listen.server import SidecarServer
from sidecar.listen.site import AcceptingSite
from sidecar.listen.sockets import open_listeners
from sidecar.listen.trust import TrustedPeers
from sidecar.model.decision import Denial, Missing
from sidecar.model.reason import Reason
from sidecar.route.rules import compile_routes
from sidecar.settings.address import Address, TcpAddress
from sidecar.settings.schema import (
    Cache,
    Credentials,
    Forwarded,
    Identity,
    Listen,
    Overload,
    RouteRule,
    Upstream,
)
from sidecar.telemetry.propagation import Propagation

ANY = (RouteRule(path="/{rest*}", access="public"), RouteRule(path="/", access="public"))
ANYWHERE = TcpAddress("127.0.0.1", 0)
CREDENTIALS = Credentials(token_key="k" * 32)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Seen:
    """What a scripted upstream received on one connection."""

    octets: bytes = b""


class ScriptedUpstream:
    """A TCP server that runs `serve` for each connection."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._run, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """One head, with its empty line."""
    return await reader.readuntil(b"\r\n\r\n")


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    """A chunked body's payload, strictly."""
    payload = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        piece = await reader.readexactly(size + 2)
        assert piece.endswith(b"\r\n")
        if size == 0:
            return payload
        payload += piece[:-2]


def fields_of(head: bytes) -> dict[str, str]:
    """Fields by lower-case name; several values are joined with ``|``."""
    fields: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        fields[name] = f"{fields[name]}|{value}" if name in fields else value
    return fields


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and payload of one request, as an upstream reads it."""
    head = await read_head(reader)
    fields = fields_of(head)
    if "transfer-encoding" in fields:
        return head, await read_chunked(reader)
    return head, await reader.readexactly(int(fields.get("content-length", "0")))


def replying(*answers: bytes) -> tuple[Serve, list[tuple[bytes, bytes]]]:
    """An upstream that gives `answers` in turn (the last for ever) and records requests."""
    seen: list[tuple[bytes, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            answer = answers[min(len(seen), len(answers) - 1)]
            seen.append(request)
            writer.write(answer)
            await writer.drain()

    return serve, seen


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Holding:
    """An upstream that answers `OK` once `gate` is set; `asked` is, when a request came.

    Args:
        target: beginning of the targets that are held back; others are answered at once.
    """

    def __init__(self, target: str = "/") -> None:
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()
        self._held = f" {target}".encode()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            self.asked.set()
            if self._held in head.partition(b"\r\n")[0]:
                await self.gate.wait()
            writer.write(OK)
            await writer.drain()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that answers with 100 MB as soon as it has read a head."""
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"x" * 100_000)
        await writer.drain()


@dataclass
class Response:
    """A response as a strict client reads it."""

    status: int
    head: bytes
    body: bytes
    fields: dict[str, str]

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class RawClient:
    """A client that sends what it is told and reads strictly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> "RawClient":
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls))

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def get(self, target: str = "/", *fields: str, method: str = "GET") -> Response:
        await self.send(request(target, *fields, method=method))
        return await self.response(method)

    async def response(self, method: str = "GET") -> Response:
        """The next final response; raises IncompleteReadError where it is truncated."""
        async with asyncio.timeout(10):
            head = await read_head(self.reader)
            status = int(head[9:12])
            fields = fields_of(head)
            if method == "HEAD" or status in {204, 304} or status < 200:
                body = b""
            elif "transfer-encoding" in fields:
                body = await read_chunked(self.reader)
            elif "content-length" in fields:
                body = await self.reader.readexactly(int(fields["content-length"]))
            else:
                body = await self.reader.read(-1)
            return Response(status, head, body, fields)

    async def at_end(self) -> bool:
        """Whether the server has closed cleanly and sent nothing more."""
        async with asyncio.timeout(10):
            return await self.reader.read(1) == b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Go away with RST: a FIN alone could be a client that still waits for its answer."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def request(target: str = "/", *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request; Host is added."""
    lines = [f"{method} {target} HTTP/1.1", "Host: app.example", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@dataclass
class Plane:
    """A running data plane."""

    port: int
    server: SidecarServer
    opening: Opening
    acceptor: Acceptor
    dialler: Dialler
    pool: UpstreamPool
    sweeper: Sweeper
    tls: TlsFiles | None
    ended: list[Exchange] = field(default_factory=list)

    async def client(self, tls: ssl.SSLContext | None = None) -> RawClient:
        return await RawClient.connect(self.port, tls)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until `condition` holds (at most ten seconds)."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running_plane(
    url: str,
    *,
    listen: Listen | None = None,
    upstream: Upstream | None = None,
    routes: Sequence[RouteRule] = ANY,
    forwarded: Forwarded | None = None,
    credentials: Credentials = CREDENTIALS,
    sweep_seconds: float = 0.02,
    memory: Memory | None = None,
    limits: Overload | None = None,
    address: Address = ANYWHERE,
) -> AsyncIterator[Plane]:
    """A data plane before the upstream at `url`; decisions from `memory`, or an empty one."""
    forwarded = forwarded or Forwarded()
    upstream = msgspec.structs.replace(upstream or Upstream(url=url), url=url)
    snapshot = Snapshot(
        routes=compile_routes(routes, default_upstream="app"),
        credentials=CredentialRules(credentials),
        memory=Memory(Cache(), jitter=lambda: 0.5) if memory is None else memory,
        authorizer=Authorizer(Cache(), IdentityFields(Identity())),
        leeways={},
    )
    sweeper = Sweeper(sweep_seconds)
    dialler = Dialler("app", upstream)
    fuse = None if upstream.breaker is None else Fuse(upstream.breaker, lambda: 0.5)
    pool = UpstreamPool("app", upstream, dialler, sweeper, fuse)
    trusted = TrustedPeers(forwarded.trusted)
    gate = gate_of(
        limits=limits or Overload(),
        connections=(listen or Listen()).limits.connections,
        rules=tuple(routes),
        table=snapshot.routes,
        authorizer=snapshot.authorizer,
        is_trusted=trusted.includes,
    )
    ended: list[Exchange] = []

    def end(exchange: Exchange) -> None:
        if gate is not None:
            gate.left(exchange)
        ended.append(exchange)

    cookie = credentials.session.cookie if credentials.session else ""
    forwarder = Forwarder(
        request_fields=RequestFields(Identity(), forwarded, cookie),
        response_fields=ResponseFields(forwarded.request_id, cookie),
        answers=Answers(credentials, forwarded.request_id, ""),
        identifiers=Identifiers(forwarded),
        propagation=Propagation(forwarded.traceparent),
        pools={"app": pool},
        hosts={} if upstream.keep_host else {"app": b"upstream.example"},
        authorities={"app": b"upstream.example"},
        ended=end,
    )

    def begin(exchange: Exchange) -> None:
        if exchange.head.upgrade:
            exchange.refuse(Denial(Reason.UNSUPPORTED_UPGRADE))
            return
        if gate is not None and gate.settles(exchange):
            return
        verdict = decide(exchange.head, 0.0, 0.0, snapshot)
        if gate is not None:
            verdict = gate.passes(exchange, verdict)
        if isinstance(verdict, Denial):
            exchange.refuse(verdict)
        elif isinstance(verdict, Missing):
            exchange.refuse(Denial(Reason.STORES_UNAVAILABLE))
        else:
            exchange.forward(verdict)

    server = SidecarServer(
        settings=listen or Listen(),
        forwarder=forwarder,
        trusted=trusted,
        begin=begin,
        sweeper=sweeper,
    )
    runner = web.ServerRunner(server, shutdown_timeout=2.0)
    await runner.setup()
    listen = listen or Listen()
    tls = None if listen.tls is None else listener_files(listen.tls)
    opening = Opening(
        server,
        tls=tls,
        proxies=TrustedPeers(listen.proxy_protocol_from) if listen.proxy_protocol_from else None,
    )
    acceptor = Acceptor(opening, server.is_full)
    listeners = open_listeners(address, listen.backlog)
    port = listeners[0].getsockname()[1] if isinstance(address, TcpAddress) else 0
    await AcceptingSite(runner, server, acceptor, listeners).start()
    sweeper.start()
    watching = []
    if tls is not None:
        tls.changed = server.certificates_changed
        watching.append(asyncio.create_task(tls.keep_fresh()))
    plane = Plane(port, server, opening, acceptor, dialler, pool, sweeper, tls, ended)
    try:
        yield plane
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await runner.cleanup()
        await pool.close()
        sweeper.stop()
