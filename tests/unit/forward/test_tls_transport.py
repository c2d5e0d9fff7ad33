"""TLS on a socket of our own, against the clients of asyncio and of the standard library."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.forward.tls import listener_files
from sidecar.forward.tls_transport import TlsTransport, accept_tls
from sidecar.settings.schema import Tls
from tests.certificates import Authority

CA = Authority()


class Server(asyncio.Protocol):
    """Remembers, and echoes where it is told to."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.got = bytearray()
        self.ended = asyncio.Event()
        self.error: Exception | None = None
        self.stalls = 0
        self.echoes = False
        self.is_lost = asyncio.Event()
        self.bug: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.bug is not None:
            raise self.bug
        self.got += data
        if self.echoes:
            self.transport.write(data)

    def eof_received(self) -> None:
        self.ended.set()

    def pause_writing(self) -> None:
        self.stalls += 1
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self.is_lost.set()


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    certificate, key = CA.server().write(tmp_path, "server")
    return listener_files(Tls(certificate=certificate, key=key)).material.context


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=CA.pem.decode())


@contextlib.asynccontextmanager
async def connected(
    context: ssl.SSLContext, shutdown_seconds: float = 5.0
) -> AsyncIterator[tuple[Server, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    server = Server()
    async with asyncio.timeout(20):
        accepting = asyncio.create_task(
            accept_tls(ours, context, lambda: server, shutdown_seconds=shutdown_seconds)
        )
        reader, writer = await asyncio.open_connection(
            sock=theirs, ssl=trusting(), server_hostname="localhost"
        )
        await accepting
        try:
            yield server, reader, writer
        finally:
            writer.transport.abort()
            server.transport.abort()
            await server.is_lost.wait()


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 5_000_000])
async def test_octets_go_both_ways_however_many(context: ssl.SSLContext, size: int) -> None:
    async with connected(context) as (server, reader, writer):
        server.echoes = True
        sent = bytes(range(256)) * (size // 256) + bytes(size % 256)
        writer.write(sent)
        assert await reader.readexactly(size) == sent
        assert server.got == sent


async def test_who_does_not_read_is_waited_for(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, reader, _):
        large = b"x" * 20_000_000
        server.transport.write(large)
        assert server.stalls == 1
        assert server.transport.get_write_buffer_size() > 65_536
        server.transport.write(b"more")
        assert await reader.readexactly(len(large) + 4) == large + b"more"
        assert server.transport.get_write_buffer_size() == 0
        assert server.transport.is_reading(), "it was told that there is room again"


async def test_limits_are_whose_they_are(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, _, _writer):
        server.transport.set_write_buffer_limits(high=10_000_000_000)
        server.transport.write(b"x" * 20_000_000)
        assert server.stalls == 0
        server.transport.set_write_buffer_limits(high=1000, low=10)
        server.transport.write(b"x")
        assert server.stalls == 1


async def test_the_end_of_tls_is_the_end_of_both(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, _, writer):
        writer.close()
        await server.ended.wait()
        await server.is_lost.wait()
        assert server.error is None
        assert not server.transport.can_write_eof()


async def test_what_was_sent_arrives_before_the_end(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, reader, writer):
        large = b"x" * 3_000_000
        server.transport.write(large)
        server.transport.close()
        server.transport.close()
        server.transport.write(b"too late")
        assert server.transport.is_closing()
        assert await reader.read(-1) == large, "and a proper end"
        writer.close()
        await server.is_lost.wait()
        assert server.error is None


async def test_the_end_of_tcp_alone_is_a_truncation(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, _, writer):
        sock = writer.get_extra_info("socket")
        sock.shutdown(socket.SHUT_WR)
        await server.is_lost.wait()
        assert isinstance(server.error, ssl.SSLEOFError)
        assert not server.ended.is_set()


async def test_a_peer_that_does_not_close_has_not_long(context: ssl.SSLContext) -> None:
    async with connected(context, shutdown_seconds=0.01) as (server, _, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined] # it reads, too
        server.transport.close()
        await server.is_lost.wait()
        assert server.error is None


async def test_what_a_peer_still_says_is_dropped(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, reader, writer):
        server.transport.write(b"the end")
        server.transport.close()
        writer.write(b"x" * 100_000)
        assert await reader.read(-1) == b"the end"
        writer.close()
        await server.is_lost.wait()
        assert server.got == b""


async def test_an_abort_is_no_proper_end(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, reader, _):
        server.transport.write(b"half of")
        server.transport.abort()
        server.transport.abort()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert await reader.read(-1) == b"half of"
        await server.is_lost.wait()
        assert server.transport.get_extra_info("socket") is None
        assert server.transport.get_extra_info("socket", "none") == "none"
        with pytest.raises(RuntimeError, match="nobody has it"):
            server.transport.get_protocol()


async def test_a_bug_ends_its_connection(context: ssl.SSLContext) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    async with connected(context) as (server, _, writer):
        server.bug = RuntimeError("planted")
        writer.write(b"x")
        await server.is_lost.wait()
        assert server.error is server.bug
        assert [each["exception"] for each in told] == [server.bug]


async def test_paused_means_that_nothing_is_read(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, reader, writer):
        server.transport.pause_reading()
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        writer.write(b"x" * 100)
        server.transport.write(b"y")
        assert await reader.readexactly(1) == b"y"
        for _ in range(20):
            await asyncio.sleep(0)
        assert server.got == b""
        other = Server()
        server.transport.set_protocol(other)
        assert server.transport.get_protocol() is other
        server.transport.resume_reading()
        while len(other.got) < 100:
            await asyncio.sleep(0)
        assert server.got == b""
        server.transport.set_protocol(server)


async def test_what_is_told_of_a_connection(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, _, _writer):
        transport = server.transport
        assert transport.get_extra_info("sslcontext") is context
        assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert transport.get_extra_info("socket").fileno() >= 0
        assert transport.get_extra_info("cipher", "not told") == "not told"
        with pytest.raises(TypeError):
            transport.set_protocol(asyncio.DatagramProtocol())


async def test_what_is_no_tls_is_refused_with_an_alert(context: ssl.SSLContext) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with theirs:
        await asyncio.get_running_loop().sock_sendall(theirs, b"\x16\x03\x01\x00\x05hello")
        with pytest.raises(ssl.SSLError):
            await accept_tls(ours, context, Server, shutdown_seconds=1.0)
        alert = await asyncio.get_running_loop().sock_recv(theirs, 100)
        assert alert[:1] == b"\x15"
        assert await asyncio.get_running_loop().sock_recv(theirs, 100) == b""


async def test_a_handshake_that_is_given_up_leaves_nothing(context: ssl.SSLContext) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with theirs:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await accept_tls(ours, context, Server, shutdown_seconds=1.0)
        assert await asyncio.get_running_loop().sock_recv(theirs, 100) == b""


class Stubborn:
    """A socket whose TLS wants to write before it reads, once, and before it ends, once."""

    family = socket.AF_UNIX

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.wants: list[OSError] = [ssl.SSLWantWriteError(), ssl.SSLWantReadError()]
        self.end_wants: list[OSError] = [ssl.SSLWantWriteError()]
        self.ends = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        if self.wants:
            raise self.wants.pop(0)
        return self._sock.recv(size)

    def unwrap(self) -> None:
        self.ends += 1
        if self.end_wants:
            raise self.end_wants.pop()


async def turns(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not until():
            await asyncio.sleep(0)


async def test_what_tls_wants_to_say_itself_goes_first() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        stubborn: Any = Stubborn(ours)
        transport = TlsTransport(stubborn, shutdown_seconds=1.0)
        server = Server()
        transport.start(server)
        theirs.sendall(b"said")
        await turns(lambda: transport._reads_when_writable)
        await turns(lambda: server.got == b"said")
        transport.close()
        assert not transport._is_shut
        await turns(lambda: transport._is_shut)
        assert stubborn.ends == 2
        assert theirs.recv(1) == b""
        theirs.close()
        await server.is_lost.wait()
        assert server.error is None


async def test_a_connection_lost_while_tls_wants_to_say_something() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        stubborn: Any = Stubborn(ours)
        stubborn.wants[1] = ConnectionResetError()
        server = Server()
        transport = TlsTransport(stubborn, shutdown_seconds=1.0)
        transport.start(server)
        transport._read()
        transport._write()
        await server.is_lost.wait()
        assert isinstance(server.error, ConnectionResetError)
        assert (stubborn.ends, told) == (0, [])


async def test_a_peer_that_is_gone_is_noticed_by_a_write(context: ssl.SSLContext) -> None:
    async with connected(context) as (server, _, writer):
        server.transport.pause_reading()
        writer.transport.abort()
        for _ in range(3):
            server.transport.write(b"x")
            await asyncio.sleep(0)
        await turns(server.is_lost.is_set)
        assert isinstance(server.error, OSError)
