"""Clients that read slowly, or not at all, over each kind of socket. Time is told to the server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar.listen.downstream import Downstream
from sidecar.settings.address import UnixAddress
from sidecar.settings.schema import Limits, Listen, Tls, Upstream
from tests.certificates import Authority
from tests.plane import ANYWHERE, Plane, ScriptedUpstream, read_request, request, running_plane
from tests.tls_clients import TlsSocket, trusting

KINDS = ["tcp", "tls", "unix", "tls-unix"]
# As much of the answer as a client asks for before it becomes slow.
PIECE = 65536


@dataclass
class Reader:
    """A client that reads what it is sent, one virtual second after the other.

    Attributes:
        plane: whose client it is.
        sock: what it reads from; TLS is not undone.
        downstream: the server's end.
        now: the server's clock.
    """

    plane: Plane
    sock: socket.socket
    downstream: Downstream
    now: float

    @property
    def is_served(self) -> bool:
        return self.downstream in self.plane.server._downstreams

    async def stalled(self) -> None:
        """The answer goes on, and nobody takes it."""
        await self.plane.until(lambda: self.downstream._is_stalled)

    async def seconds(self, seconds: int, *, octets: int) -> None:
        """Read `octets` each second, at most for so long."""
        until = self.now + seconds
        while self.now < until and self.is_served:
            left = octets
            while left:
                left -= len(await asyncio.get_running_loop().sock_recv(self.sock, left))
            self.now += 1
            await asyncio.sleep(0)
            if self.downstream.deadline <= self.now:
                self.downstream.expire()
                await asyncio.sleep(0)

    async def take(self, octets: int) -> None:
        """Read as fast as it comes."""
        while octets > 0:
            octets -= len(await asyncio.get_running_loop().sock_recv(self.sock, 1_000_000))


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        writer.write(bytes(PIECE))
        await writer.drain()


@contextmanager
def socket_of(kind: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX if "unix" in kind else socket.AF_INET) as sock:
        yield sock


@asynccontextmanager
async def reading(
    kind: str, tls: Tls, authority: Authority, folder: Path, rate: int = 240
) -> AsyncIterator[Reader]:
    """A client whose answer never ends."""
    path = str(folder / "s")
    listen = Listen(
        tls=tls if "tls" in kind else None, limits=Limits(slowest_download_bytes_per_second=rate)
    )
    async with (
        ScriptedUpstream(endless) as upstream,
        running_plane(
            upstream.url, listen=listen, address=UnixAddress(path) if "unix" in kind else ANYWHERE
        ) as plane,
    ):
        with socket_of(kind) as sock:
            sock.connect(path if "unix" in kind else ("127.0.0.1", plane.port))
            if "tls" in kind:
                client = TlsSocket(sock, trusting(authority))
                await asyncio.to_thread(client.handshake, b"", 0)
                client.send(request("/"))
            else:
                sock.sendall(request("/"))
            sock.setblocking(False)
            await plane.until(lambda: plane.server.open_connections == 1)
            (downstream,) = plane.server._downstreams
            made = Reader(plane, sock, downstream, plane.server.now())
            plane.server.now = lambda: made.now  # type: ignore[misc] # the clock of this test
            yield made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("octets", [300, 1000, 2000])
@pytest.mark.parametrize("before", [0, 30_000_000], ids=["from-the-start", "after-much"])
async def test_who_reads_faster_than_the_slowest_is_served_for_ever(
    kind: str, octets: int, before: int, tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    async with reading(kind, tls, authority, tmp_path) as reader:
        await reader.take(before)
        await reader.stalled()
        await reader.seconds(3_000_000 // octets, octets=octets)
        assert reader.is_served


@pytest.mark.parametrize("kind", ["unix", "tls-unix"])
async def test_what_a_client_took_before_it_was_sent_more_counts(
    kind: str, tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    async with reading(kind, tls, authority, tmp_path) as reader:
        await reader.stalled()
        await reader.seconds(12_000, octets=250)
        assert reader.is_served, "a little faster than the slowest, so that nothing may be lost"


@pytest.mark.parametrize("kind", KINDS)
async def test_who_reads_nothing_is_reset_within_a_bound(
    kind: str, tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    async with reading(kind, tls, authority, tmp_path) as reader:
        began = reader.now
        await reader.stalled()
        await reader.seconds(540, octets=0)
        assert reader.is_served, "its kernel may still hold back what it reads"
        await reader.seconds(100_000, octets=0)
        assert reader.now - began < 4_400, "a megabyte at the slowest rate, at the worst"


@pytest.mark.parametrize("kind", KINDS)
async def test_who_reads_next_to_nothing_is_reset_too(
    kind: str, tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    async with reading(kind, tls, authority, tmp_path) as reader:
        began = reader.now
        await reader.stalled()
        await reader.seconds(100_000, octets=10)
        assert reader.now - began < 6_000


@pytest.mark.parametrize("kind", KINDS)
async def test_no_rate_is_no_bound(
    kind: str, tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    async with reading(kind, tls, authority, tmp_path, rate=0) as reader:
        await reader.stalled()
        await reader.seconds(100_000, octets=0)
        assert reader.is_served


@asynccontextmanager
async def deaf(count: int, **settings: Any) -> AsyncIterator[tuple[Plane, list[Downstream]]]:
    """So many clients that read nothing of an endless answer, and an upstream of two places."""
    async with (
        ScriptedUpstream(endless) as upstream,
        running_plane(
            upstream.url,
            listen=Listen(limits=Limits(slowest_download_bytes_per_second=240)),
            upstream=Upstream(url=upstream.url, connections=2, **settings),
        ) as plane,
    ):
        with ExitStack() as stack:
            for _ in range(count):
                client = stack.enter_context(socket_of("tcp"))
                client.connect(("127.0.0.1", plane.port))
                client.sendall(request("/"))
            await plane.until(
                lambda: [each._is_stalled for each in plane.server._downstreams] == [True] * count
            )
            yield plane, list(plane.server._downstreams)


async def first_octets(plane: Plane) -> bytes:
    """What one more client gets."""
    loop = asyncio.get_running_loop()
    with socket_of("tcp") as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", plane.port))
        await loop.sock_sendall(sock, request("/"))
        return await loop.sock_recv(sock, 13)


async def test_who_reads_nothing_gives_way_to_who_waits_for_the_upstream() -> None:
    async with deaf(2, queue_seconds=3.0) as (plane, stalled):
        assert await first_octets(plane) == b"HTTP/1.1 200 "
        left = [each for each in stalled if each in plane.server._downstreams]
        assert len(left) == 1, "no more than had to"


async def test_who_reads_nothing_is_waited_for_where_the_upstream_has_room() -> None:
    async with deaf(1, queue_seconds=0.01) as (plane, stalled):
        assert await first_octets(plane) == b"HTTP/1.1 200 "
        assert stalled[0] in plane.server._downstreams
