"""Bounds: memory, deadlines and places in queues, whatever the order of events.

Each of these was once broken, or nearly so: a deadline that another state had erased, a
connection handed on with something still in it.
"""

import asyncio
import socket
import struct

import pytest

from sidecar.clock import NEVER
from sidecar.listen.downstream import Downstream
from sidecar.model.reason import Reason
from sidecar.settings.schema import Deadlines, Limits, Listen, Upstream
from tests.plane import (
    OK,
    Holding,
    Plane,
    RawClient,
    ScriptedUpstream,
    endless,
    read_head,
    read_request,
    replying,
    request,
    running_plane,
)

QUICK = Listen(
    limits=Limits(slowest_download_bytes_per_second=10_000_000),
    deadlines=Deadlines(
        head_seconds=0.3,
        body_idle_seconds=0.3,
        write_stall_seconds=0.3,
        keep_alive_seconds=0.5,
        linger_seconds=0.2,
    ),
)


async def deaf_client(plane: Plane) -> RawClient:
    """A client with a small receive buffer that reads nothing until asked."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", plane.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
    return RawClient(reader, writer)


async def test_a_client_that_does_not_read_gets_no_further_answer() -> None:
    """It must neither be read on, nor have a huge answer added to what it leaves lying."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            head, _ = await read_request(reader)
            size = 200_000_000 if b"/huge" in head else 20_000
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            while size > 0:
                writer.write(b"x" * min(size, 100_000))
                size -= 100_000
                await writer.drain()
                sent += 100_000

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=QUICK) as plane,
    ):
        client = await deaf_client(plane)
        (downstream,) = await _connected(plane)
        for _ in range(2000):
            client.writer.write(request("/"))
            await asyncio.sleep(0)
            if downstream._is_stalled:
                break
        await plane.until(lambda: downstream._is_stalled)
        client.writer.write(request("/huge"))
        await plane.until(lambda: plane.server.open_connections == 0)
        assert sent < 100_000_000, "the huge answer was held back or never asked for"
        client.reset()


async def _connected(plane: Plane) -> list:  # type: ignore[type-arg]  # of Downstream
    await plane.until(lambda: plane.server.open_connections == 1)
    return list(plane.server._downstreams)


async def test_ending_the_request_does_not_lift_the_deadline_of_a_stalled_client() -> None:
    async with (
        ScriptedUpstream(endless) as upstream,
        running_plane(upstream.url, listen=QUICK) as plane,
    ):
        client = await deaf_client(plane)
        await client.send(request("/", "Transfer-Encoding: chunked", method="POST"))
        (downstream,) = await _connected(plane)
        await plane.until(lambda: downstream._is_stalled)
        await client.send(b"0\r\n\r\n")
        await plane.until(lambda: plane.server.open_connections == 0 and plane.pool.size == 0)
        client.reset()


async def test_a_client_that_reads_again_still_has_a_deadline() -> None:
    """In every state: here, after an early refusal that is being drained."""
    async with running_plane("http://127.0.0.1:9", listen=QUICK, routes=()) as plane:
        client = await plane.client()
        await client.send(request("/", "Content-Length: 1000", method="POST"))
        assert (await client.response()).status == 404
        (downstream,) = await _connected(plane)
        downstream.pause_writing()
        downstream.resume_writing()
        assert downstream.deadline < NEVER
        await plane.until(lambda: plane.server.open_connections == 0)
        client.close()


async def test_an_empty_line_drop_by_drop_is_a_slow_head() -> None:
    async with running_plane("http://127.0.0.1:9", listen=QUICK) as plane:
        client = await plane.client()

        async def drip() -> None:
            while True:
                client.writer.write(b"\r")
                await asyncio.sleep(0.05)
                client.writer.write(b"\n")
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        await plane.until(lambda: plane.server.open_connections == 1)
        await plane.until(lambda: plane.server.open_connections == 0)
        dripping.cancel()
        client.close()


@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified"])
async def test_a_body_that_must_not_be_never_answers_somebody_else(status: str) -> None:
    """An application that answers HEAD with a body, a moment later: a common bug."""
    method = "HEAD" if status.startswith("200") else "GET"
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            if b"/attack" in head:
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 40\r\n\r\n".encode())
                await writer.drain()
                await asyncio.sleep(0.001)
                writer.write(poison)
            else:
                writer.write(OK)
            await writer.drain()

    settings = Upstream(url="", connections=1)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        attacker, victim = await plane.client(), await plane.client()
        for _ in range(20):
            await attacker.send(request("/attack", method=method))
            await victim.send(request("/"))
            await attacker.response(method)
            assert (await victim.response()).body == b"ok"
        attacker.close()
        victim.close()


async def test_a_connection_with_an_unread_request_is_not_used_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.Event().wait()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        size = 20_000_000
        client.writer.write(request("/", f"Content-Length: {size}", method="POST"))
        client.writer.write(b"x" * size)
        response = await client.response()
        assert response.status in {200, 502}
        client.reset()
        await plane.until(lambda: plane.pool.idle == 0)


async def test_those_who_left_the_queue_leave_their_places() -> None:
    held = Holding()
    settings = Upstream(url="", connections=1, queue=2)
    async with (
        ScriptedUpstream(held) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        first = await plane.client()
        await first.send(request("/"))
        await plane.until(lambda: plane.pool.size == 1)
        for number in range(1, 5):
            gone = await plane.client()
            await gone.send(request("/"))
            await plane.until(lambda number=number: plane.pool.statistics.waited == number)  # type: ignore[misc]  # bound
            gone.reset()
            await plane.until(lambda number=number: len(plane.ended) == number)  # type: ignore[misc]  # bound
        honest = await plane.client()
        await honest.send(request("/"))
        await plane.until(lambda: plane.pool.statistics.waited == 5)
        held.gate.set()
        assert (await first.response()).status == 200
        assert (await honest.response()).status == 200
        first.close()
        honest.close()


async def test_a_connection_that_cannot_be_made_makes_room_for_the_next() -> None:
    serve, _ = replying(OK)
    settings = Upstream(url="", connections=1, queue_seconds=30.0)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        connect = plane.pool._connect
        failing = asyncio.Event()

        async def once(make):  # type: ignore[no-untyped-def]
            if not failing.is_set():
                failing.set()
                await asyncio.sleep(0.05)
                raise UnicodeError("label too long")
            return await connect(make)

        plane.pool._connect = once
        first, second = await plane.client(), await plane.client()
        await first.send(request("/"))
        await plane.until(failing.is_set)
        await second.send(request("/"))
        response = await first.response()
        assert (response.status, response.json()["reason"]) == (502, Reason.UPSTREAM_UNREACHABLE)
        assert (await second.response()).status == 200
        first.close()
        second.close()


async def test_a_connection_reset_before_it_is_accepted_takes_no_place() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(limits=Limits(connections=5))) as plane,
    ):
        for _ in range(50):
            sock = socket.socket()
            sock.connect(("127.0.0.1", plane.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        await asyncio.sleep(0)
        client = await plane.client()
        assert (await client.get("/")).status == 200
        await plane.until(lambda: plane.server.open_connections == 1)
        client.close()


async def test_all_pipelined_requests_of_a_half_closed_client_are_answered() -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        client.writer.write(request("/1") + request("/2") + request("/3"))
        client.writer.write_eof()
        for _ in range(3):
            assert (await client.response()).status == 200
        assert await client.at_end()
        client.close()


async def test_an_announced_body_over_its_bound_never_goes_upstream() -> None:
    serve, seen = replying(OK)
    listen = Listen(limits=Limits(body_bytes=10), deadlines=Deadlines(linger_seconds=0.1))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        client = await plane.client()
        response = await client.get("/", "Content-Length: 11", method="POST")
        assert (response.status, response.fields["connection"]) == (413, "close")
        assert upstream.connections == 0
        assert seen == []
        client.close()


async def test_lingering_does_not_cut_an_answer_that_is_being_read() -> None:
    size = 3_000_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 413 x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await writer.drain()
        await reader.read(-1)

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=QUICK) as plane,
    ):
        client = await plane.client()
        await client.send(request("/", "Content-Length: 100", method="POST"))
        await read_head(client.reader)
        received = 0
        while received < size:
            received += len(await client.reader.read(100_000))
            await asyncio.sleep(0.02)
        assert received == size
        client.close()


async def test_clients_that_upload_slowly_leave_connections_to_others() -> None:
    serve, _ = replying(OK)
    settings = Upstream(url="", connections=2, queue_seconds=30.0)
    upload = request("/", "Content-Length: 4", method="POST", body=b"ab")
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        slow, finishing, leaving, whole = [await plane.client() for _ in range(4)]
        for client in (slow, finishing, leaving):
            before = plane.pool.statistics.waited
            await client.send(upload)
            if client is not slow:
                await plane.until(lambda known=before: plane.pool.statistics.waited > known)  # type: ignore[misc] # the value of this round
        assert (await whole.get("/")).status == 200
        await whole.send(request("/", "Content-Length: 2", method="POST", body=b"ab"))
        assert (await whole.response()).status == 200, "its body is behind its head"
        await slow.send(b"cd")
        assert (await slow.response()).status == 200
        await finishing.send(b"cd")
        assert (await finishing.response()).status == 200
        leaving.reset()
        await plane.until(lambda: not plane.pool._uploads and not plane.pool._parked)
        for client in (slow, finishing, whole):
            client.close()


async def test_connections_at_rest_make_room_for_others() -> None:
    serve, _ = replying(OK)
    listen = Listen(limits=Limits(connections=4))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        clients: list[RawClient] = []
        known: set[Downstream] = set()
        for number in range(12):
            client = await plane.client()
            assert (await client.get("/")).status == 200, f"client {number}"
            clients.append(client)
            await plane.until(lambda: plane.server.open_connections < 4)
            for downstream in plane.server._downstreams - known:
                downstream.deadline += number  # the loop's clock may not have moved meanwhile
            known |= plane.server._downstreams
        assert plane.server.refused_connections == 0
        for number in range(9):
            assert await clients[number].at_end(), f"client {number}"
        assert (await clients[-1].get("/")).status == 200, "the longest at rest went first"
        for client in clients:
            client.close()


async def test_those_who_take_all_places_and_rest_later_make_room_for_who_comes_again() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=Listen(limits=Limits(connections=4))) as plane,
    ):
        resting = [await plane.client() for _ in range(4)]
        for client in resting:
            assert (await client.get("/")).status == 200
        plane.server._look_at = 0.0  # it has looked while nobody rested, and looks again soon
        early = await plane.client()
        assert await early.at_end(), "there is no room for the first who comes"
        await plane.until(lambda: plane.server.open_connections < 4)
        late = await plane.client()
        assert (await late.get("/")).status == 200
        for client in (*resting, early, late):
            client.close()


async def test_who_is_served_makes_no_room() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - it never answers
        await read_request(reader)
        await asyncio.Event().wait()

    listen = Listen(limits=Limits(connections=4))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        clients = [await plane.client() for _ in range(4)]
        for client in clients:
            await client.send(request("/"))
        await plane.until(lambda: upstream.connections == 4)
        beyond = await plane.client()
        assert await beyond.at_end()
        assert plane.server.open_connections == 4
        for client in (*clients, beyond):
            client.close()


@pytest.mark.parametrize("asks", [True, False])
async def test_who_waits_for_100_is_not_blamed_for_the_upstream(asks: bool) -> None:
    proceed, interim = asyncio.Event(), b"HTTP/1.1 100 Continue\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await proceed.wait()
        writer.write(interim)
        await reader.readexactly(4)
        writer.write(OK)

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=QUICK) as plane,
    ):
        client, silent = await plane.client(), await plane.client()
        fields = ["Content-Length: 4", *(["Expect: 100-continue"] if asks else [])]
        await client.send(request("/", *fields, method="POST"))
        # As long as it may be silent in a body, and its deadline comes later.
        await silent.send(request("/", "Content-Length: 4", method="POST"))
        assert (await silent.response()).status == 408
        await plane.until(lambda: len(plane.ended) == (1 if asks else 2))
        proceed.set()
        if asks:
            assert await read_head(client.reader) == interim
            await client.send(b"body")
            assert (await client.response()).status == 200
        else:
            assert (await client.response()).status == 408
        client.close()
        silent.close()


@pytest.mark.parametrize("part", [b"", b"bo"])
async def test_who_was_told_to_go_on_has_to(part: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        if not part:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.Event().wait()

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=QUICK) as plane,
    ):
        client = await plane.client()
        fields = ("Content-Length: 4", "Expect: 100-continue")
        await client.send(request("/", *fields, method="POST"))
        if part:
            await plane.until(lambda: upstream.connections == 1)
            await client.send(part)
        else:
            assert (await client.response()).status == 100
        assert (await client.response()).status == 408
        client.close()
