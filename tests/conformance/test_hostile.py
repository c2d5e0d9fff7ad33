"""Hostile clients: what each costs is bounded, and a good client is served meanwhile.

Afterwards nothing is left of them. What is asserted is order and recovery, never speed.
SIDECAR_HOSTILE_SCALE multiplies the numbers for long runs.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec
import pytest

from sidecar.model.reason import Reason
from sidecar.settings.schema import Deadlines, Limits, Listen, RouteRule, Upstream
from tests.plane import (
    OK,
    Holding,
    Plane,
    RawClient,
    ScriptedUpstream,
    read_head,
    read_request,
    replying,
    request,
    running_plane,
)

SCALE: Final = int(os.environ.get("SIDECAR_HOSTILE_SCALE", "1"))
QUICK: Final = Listen(
    limits=Limits(
        slowest_upload_bytes_per_second=100_000, slowest_download_bytes_per_second=1_000_000
    ),
    deadlines=Deadlines(
        head_seconds=0.3,
        body_idle_seconds=0.3,
        write_stall_seconds=0.3,
        keep_alive_seconds=5.0,
        linger_seconds=0.2,
    ),
)
PATIENT: Final = Listen()
Attack = Callable[[RawClient], Awaitable[None]]


@contextlib.asynccontextmanager
async def attacked(
    listen: Listen, application: ScriptedUpstream | None = None, **others: object
) -> AsyncIterator[Plane]:
    """A plane that serves a good client before, during and after, and then forgets everybody."""
    served, _ = replying(OK)
    async with (
        application or ScriptedUpstream(served) as running,
        running_plane(running.url, listen=listen, **others) as plane,  # type: ignore[arg-type]  # passed on
    ):
        good = await plane.client()
        assert (await good.get("/good")).status == 200
        yield plane
        good.close()
        good = await plane.client()
        assert (await good.get("/good")).status == 200
        good.close()
        await plane.until(lambda: plane.server.open_connections == 0)
        await plane.until(lambda: plane.pool.size == plane.pool.idle)
        assert plane.server.budget.used_bytes == 0
        assert all(exchange.is_over for exchange in plane.ended)


async def dripping(client: RawClient, begin: bytes, drop: bytes) -> None:
    """Send `begin`, and then a drop now and then until the connection ends."""
    client.writer.write(begin)
    while not client.writer.transport.is_closing():
        client.writer.write(drop)
        await asyncio.sleep(0.02)


_CHUNKED = "Transfer-Encoding: chunked"
# Name -> (what comes at once, the drop that follows again and again, the status).
DRIPS: Final[dict[str, tuple[bytes, bytes, int]]] = {
    "a head": (b"GET / HTTP/1.1\r\nA: ", b"b", 408),
    "fields": (b"GET / HTTP/1.1\r\n", b"A: b\r\n", 408),
    "a body": (request("/", "Content-Length: 100000", method="POST"), b"x", 408),
    "chunks": (request("/", _CHUNKED, method="POST"), b"1\r\nx\r\n", 408),
    "chunk extensions": (request("/", _CHUNKED, method="POST", body=b"1"), b";a", 408),
    "trailers": (request("/", _CHUNKED, method="POST", body=b"0\r\n"), b"A: b\r\n", 408),
}


@pytest.mark.parametrize("name", DRIPS)
async def test_what_comes_in_drops_has_an_end(name: str) -> None:
    begin, drop, status = DRIPS[name]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(OK)

    async with attacked(QUICK, ScriptedUpstream(serve)) as plane:
        client, good = await plane.client(), await plane.client()
        sending = asyncio.ensure_future(dripping(client, begin, drop))
        answer = asyncio.ensure_future(client.response())
        while not answer.done():
            assert (await good.get("/good")).status == 200
            await asyncio.sleep(0.01)
        assert answer.result().status == status
        assert answer.result().json()["reason"] == Reason.REQUEST_TIMEOUT
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client.close()
        good.close()


# Name -> (all of it at once, the status).
FLOODS: Final[dict[str, tuple[bytes, int]]] = {
    "a hundred thousand fields": (b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 100_000 + b"\r\n", 431),
    "fields that fit": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 8_000 + b"\r\n", 431),
    "a value of a megabyte": (b"GET / HTTP/1.1\r\nA: " + b"b" * 1_000_000, 431),
    "a target of a megabyte": (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 414),
    "an endless chunk extension": (
        request("/", _CHUNKED, method="POST", body=b"1;" + b"a" * 1_000_000),
        431,
    ),
    "endless trailers": (
        request("/", _CHUNKED, method="POST", body=b"0\r\n" + b"A: b\r\n" * 100_000),
        431,
    ),
    "a body over its bound": (
        request("/", _CHUNKED, method="POST", body=b"100000\r\n" + b"x" * 1_048_576),
        413,
    ),
    "an announced body over its bound": (
        request("/", "Content-Length: 99999999", method="POST", body=b"x" * 500_000),
        413,
    ),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_what_is_too_much_is_refused(name: str) -> None:
    octets, status = FLOODS[name]
    limits = msgspec.structs.replace(QUICK.limits, body_bytes=1_000_000)
    async with attacked(msgspec.structs.replace(QUICK, limits=limits)) as plane:
        client = await plane.client()
        client.writer.write(octets)
        assert (await client.response()).status == status
        client.close()


async def test_connections_that_send_nothing_are_closed() -> None:
    async with attacked(QUICK) as plane:
        silent = [await plane.client() for _ in range(min(200 * SCALE, 400))]  # descriptors are few
        good = await plane.client()
        assert (await good.get("/good")).status == 200
        for client in silent:
            assert await client.at_end()
            client.close()
        good.close()


@pytest.mark.parametrize("path", ["/pipelined", "/closed"], ids=["served", "refused"])
async def test_a_flood_of_pipelined_requests_is_fair_and_bounded(path: str) -> None:
    """One request of each connection has its turn; what is not read yet waits unread."""
    number = 3_000 * SCALE
    routes = (
        RouteRule(path="/closed", access="authenticated"),
        RouteRule(path="/{rest*}", access="public"),
    )
    async with attacked(PATIENT, routes=routes) as plane:
        client, good = await plane.client(), await plane.client()
        client.writer.write(request(path, "A: " + "b" * 500) * number)
        answers = 0

        async def read_answers() -> None:
            nonlocal answers
            while answers < number:
                await client.response()
                answers += 1

        reading = asyncio.ensure_future(read_answers())
        await plane.until(lambda: answers > 0)
        for _ in range(20):
            assert (await good.get("/good")).status == 200
            for downstream in plane.server._downstreams:
                # Two reads of the loop's (256 KiB) beyond the bound, at most.
                assert downstream.kept_bytes() < 65_536 + 600_000
        assert answers < number, "the good client did not wait for the flood's end"
        await reading
        client.close()
        good.close()


async def test_a_body_of_one_byte_chunks_lets_others_have_their_turn() -> None:
    size = 400_000 * SCALE
    seen: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_head(reader)
            if b"/upload" in head:
                payload = 0
                while (length := int(await reader.readuntil(b"\r\n"), 16)) > 0:
                    await reader.readexactly(length + 2)
                    payload += length
                await reader.readexactly(2)
                seen.append(payload)
            writer.write(OK)

    async with attacked(PATIENT, ScriptedUpstream(serve)) as plane:
        client, good = await plane.client(), await plane.client()
        client.writer.write(request("/upload", _CHUNKED, method="POST"))
        client.writer.write(b"1\r\nx\r\n" * size + b"0\r\n\r\n")
        answer = asyncio.ensure_future(client.response())
        served = 0
        while not answer.done():
            assert (await good.get("/good")).status == 200
            served += 1
        assert answer.result().status == 200
        assert seen == [size]
        assert served > 10, "the loop turned many times meanwhile"
        client.close()
        good.close()


async def test_a_storm_of_clients_that_leave_at_once() -> None:
    """PROMISES 22: connect, send, reset."""
    async with attacked(PATIENT) as plane:
        good = await plane.client()
        for number in range(300 * SCALE):
            client = await plane.client()
            body = request("/", "Content-Length: 1000", method="POST", body=b"x" * (number % 3))
            client.writer.write([request("/"), body, b"GET / HT"][number % 3])
            if number % 2:
                await asyncio.sleep(0)
            client.reset()
            if number % 50 == 0:
                assert (await good.get("/good")).status == 200
        good.close()


@pytest.mark.parametrize(
    "rest",
    [b"GET / HTTP/1.1\r\nHost: a\r\n", request("/", "Content-Length: 9", method="POST", body=b"x")],
    ids=["half a head", "half a body"],
)
async def test_half_a_request_behind_a_whole_one_is_not_waited_for(rest: bytes) -> None:
    """Once the client has said that nothing follows; the deadlines are long."""
    async with attacked(PATIENT) as plane:
        client = await plane.client()
        client.writer.write(request("/") + rest)
        client.writer.write_eof()
        assert (await client.response()).status == 200
        assert await client.at_end()
        client.close()


async def test_who_leaves_is_noticed_while_the_upstream_is_awaited() -> None:
    """Also behind pipelined octets: reading goes on, up to a bound."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            if b"/wait" in head:
                try:
                    await reader.read(1)
                finally:
                    left.set()
                return
            writer.write(OK)

    async with attacked(PATIENT, ScriptedUpstream(serve)) as plane:
        client = await plane.client()
        await client.send(request("/wait") + request("/next", "A: " + "b" * 10_000))
        await plane.until(lambda: plane.pool.size == 1 and plane.pool.idle == 0)
        client.reset()
        async with asyncio.timeout(10):
            await left.wait()


async def _slow_reader(port: int) -> RawClient:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return RawClient(*await asyncio.open_connection(sock=sock, limit=4096))


async def test_who_reads_next_to_nothing_is_reset() -> None:
    """A little progress is not enough: it would hold the upstream's connection for hours."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            if b"/large" in head:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                for _ in range(1000):
                    writer.write(b"x" * 100_000)
                    await writer.drain()
            writer.write(OK)

    async with attacked(QUICK, ScriptedUpstream(serve)) as plane:
        client = await _slow_reader(plane.port)
        await client.send(request("/large"))

        async def read_little() -> int:
            received = 0
            while piece := await client.reader.read(1000):
                received += len(piece)
                await asyncio.sleep(0.02)
            return received

        with pytest.raises(ConnectionError):
            async with asyncio.timeout(20):
                await read_little()
        client.close()


async def test_memory_for_all_clients_together_is_bounded() -> None:
    """Those who hold most are cut, with 503 where nothing was answered; others are served."""
    held = Holding("/slow")
    limits = Limits(buffered_bytes=1_048_576)
    async with attacked(Listen(limits=limits), ScriptedUpstream(held)) as plane:
        good = await plane.client()
        greedy = [await plane.client() for _ in range(40)]
        for client in greedy:
            client.writer.write(request("/slow") + request("/next", "A: " + "b" * 30_000) * 2)
        await plane.until(lambda: plane.server.budget.shed.total() > 0)
        await plane.until(lambda: len(plane.ended) >= plane.server.budget.shed.total())
        assert plane.server.budget.used_bytes <= 1_048_576
        assert (await good.get("/good")).status == 200
        held.gate.set()
        answers = [await client.response() for client in greedy]
        refused = [answer for answer in answers if answer.status == 503]
        assert len(refused) == plane.server.budget.shed["request"]
        assert {answer.json()["reason"] for answer in refused} == {Reason.OVERLOADED}
        assert len(refused) < len(greedy)
        for client in (good, *greedy):
            client.close()


async def test_early_bodies_count_as_memory_of_all_clients() -> None:
    """What was read of bodies before there is a connection to send them on."""
    held = Holding("/slow")
    limits = Limits(buffered_bytes=1_048_576)
    settings = Upstream(url="", connections=1, queue_seconds=30.0)
    async with attacked(Listen(limits=limits), ScriptedUpstream(held), upstream=settings) as plane:
        first = await plane.client()
        await first.send(request("/slow"))
        await plane.until(lambda: plane.pool.idle == 0)
        uploads = [await plane.client() for _ in range(12)]
        for client in uploads:
            client.writer.write(request("/", "Content-Length: 200000", method="POST"))
            client.writer.write(b"x" * 200_000)
        await plane.until(lambda: plane.server.budget.shed.total() > 0)
        held.gate.set()
        statuses = [(await client.response()).status for client in uploads]
        assert set(statuses) == {200, 503}
        assert (await first.response()).status == 200
        for client in (first, *uploads):
            client.close()
