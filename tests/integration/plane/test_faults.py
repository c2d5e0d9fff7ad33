"""Broken, slow and hostile peers on either side: every behaviour has its row."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from sidecar.model.reason import Reason
from sidecar.settings.schema import Deadlines, Limits, Listen, RouteRule, Upstream
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

Send = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(octets: bytes) -> Send:
    """Reads one request, sends `octets`, closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(octets)
        await writer.drain()

    return serve


# What the upstream does -> the reason code in the client's answer.
BEFORE_THE_HEAD = {
    "closes without a word": (b"", Reason.UPSTREAM_CLOSED),
    "half a head": (b"HTTP/1.1 200 OK\r\nA: b", Reason.UPSTREAM_CLOSED),
    "only an interim response": (b"HTTP/1.1 103 x\r\n\r\n", Reason.UPSTREAM_CLOSED),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", Reason.UPSTREAM_MALFORMED),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", Reason.UPSTREAM_MALFORMED),
    "status 000": (b"HTTP/1.1 000 x\r\n\r\n", Reason.UPSTREAM_MALFORMED),
    "NUL in a value": (b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", Reason.UPSTREAM_MALFORMED),
    "obsolete folding": (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Reason.UPSTREAM_MALFORMED),
    "a space before the colon": (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Reason.UPSTREAM_MALFORMED),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        Reason.UPSTREAM_MALFORMED,
    ),
    "length and chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        Reason.UPSTREAM_MALFORMED,
    ),
    "chunked twice": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        Reason.UPSTREAM_MALFORMED,
    ),
    "an upgrade nobody asked for": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
        Reason.UPSTREAM_MALFORMED,
    ),
    "endless interim responses": (b"HTTP/1.1 103 x\r\n\r\n" * 20, Reason.UPSTREAM_MALFORMED),
    "too many fields": (
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        Reason.UPSTREAM_MALFORMED,
    ),
    "an endless head": (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000, Reason.UPSTREAM_MALFORMED),
}


@pytest.mark.parametrize("name", BEFORE_THE_HEAD)
async def test_upstream_faults_before_the_head_are_502(name: str) -> None:
    octets, reason = BEFORE_THE_HEAD[name]
    async with (
        ScriptedUpstream(answering(octets)) as upstream,
        running_plane(upstream.url) as plane,
    ):
        client = await plane.client()
        response = await client.get("/")
        while response.status < 200:
            response = await client.response()
        assert (response.status, response.json()["reason"]) == (502, reason)
        assert (await client.get("/", "Connection: close")).status < 600, "it serves on"
        client.close()


# What the upstream sends and then closes -> how much of the body the client may see.
WITHIN_THE_BODY = {
    "a length cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "a chunk cut short": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nabc",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "no end of the trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\nA: b\r\n",
}


@pytest.mark.parametrize("name", WITHIN_THE_BODY)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_a_truncated_body_is_seen_as_truncated(name: str, version: str) -> None:
    """PROMISES 7: never a clean end, never a second status line."""
    async with (
        ScriptedUpstream(answering(WITHIN_THE_BODY[name])) as upstream,
        running_plane(upstream.url) as plane,
    ):
        client = await plane.client()
        await client.send(f"GET / {version}\r\nHost: a\r\n\r\n".encode())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.response()
        client.close()
        assert plane.ended[0].denial is not None


async def test_a_body_until_the_close_that_is_reset_is_truncated() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await writer.drain()
        await reached.wait()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    reached = asyncio.Event()
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(request("/"))
        await read_head(client.reader)
        reached.set()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.reader.readuntil(b"0\r\n\r\n")
        client.close()


async def test_nothing_listens_at_the_upstream() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with running_plane(f"http://127.0.0.1:{port}") as plane:
        client = await plane.client()
        for _ in range(2):
            response = await client.get("/")
            assert response.status == 502
            assert response.json()["reason"] == Reason.UPSTREAM_UNREACHABLE
        client.close()
        assert plane.pool.statistics.failed == 2


async def idle_closed(
    method: str, *fields: str, body: bytes = b""
) -> tuple[int, list[bytes], Plane]:
    """A request on a pooled connection that the upstream closes without a word."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = True
        while True:
            head, _ = await read_request(reader)
            heads.append(head)
            if not first:
                return
            first = False
            writer.write(OK)
            await writer.drain()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        assert (await client.get("/warm")).status == 200
        await client.send(request("/again", *fields, method=method, body=body))
        response = await client.response(method)
        client.close()
    return response.status, heads, plane


async def test_a_safe_request_is_sent_once_more_on_a_fresh_connection() -> None:
    status, heads, plane = await idle_closed("GET")
    assert status == 200
    assert len(heads) == 3
    assert plane.pool.statistics.opened == 2


@pytest.mark.parametrize(
    ("method", "fields", "body"),
    [
        ("POST", ("Content-Length: 3",), b"abc"),
        ("DELETE", (), b""),
        ("GET", ("Content-Length: 3",), b"abc"),
    ],
)
async def test_what_may_have_been_executed_is_never_replayed(
    method: str, fields: tuple[str, ...], body: bytes
) -> None:
    """PROMISES 20."""
    status, heads, _ = await idle_closed(method, *fields, body=body)
    assert status == 502
    assert len(heads) == 2


async def test_bytes_nobody_asked_for_end_the_connection() -> None:
    """PROMISES 6: a planted second response must not answer the next request."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            if head.startswith(b"GET /together"):
                writer.write(OK + evil)
            elif head.startswith(b"GET /later"):
                writer.write(OK)
                await writer.drain()
                await served.wait()
                writer.write(evil)
            else:
                writer.write(OK)
            await writer.drain()

    served = asyncio.Event()
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        assert (await client.get("/together")).body == b"ok"
        assert (await client.get("/")).body == b"ok"
        assert (await client.get("/later")).body == b"ok"
        served.set()
        await plane.until(lambda: plane.pool.statistics.unsolicited == 1)
        assert (await client.get("/")).body == b"ok"
        client.close()


async def test_a_body_after_a_head_request_is_not_the_next_response() -> None:
    serve, _ = replying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nextra", OK)
    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        assert (await client.get("/", method="HEAD")).status == 200
        assert (await client.get("/")).body == b"ok"
        assert upstream.connections == 2
        client.close()


def quick(**deadlines: float) -> Listen:
    return Listen(deadlines=Deadlines(**deadlines))


async def test_an_upstream_that_does_not_answer_is_504() -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.Event().wait()

    settings = Upstream(url="", head_seconds=0.05)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        client = await plane.client()
        response = await client.get("/")
        assert (response.status, response.json()["reason"]) == (504, Reason.UPSTREAM_TIMEOUT)
        client.close()


async def test_an_upstream_that_stalls_in_the_body_is_broken_off() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await asyncio.Event().wait()

    settings = Upstream(url="", body_idle_seconds=0.05)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        client = await plane.client()
        await client.send(request("/"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.response()
        client.close()


async def test_idle_upstream_connections_are_closed() -> None:
    serve, _ = replying(OK)
    settings = Upstream(url="", idle_seconds=0.05)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        client = await plane.client()
        await client.get("/")
        assert plane.pool.idle == 1
        await plane.until(lambda: plane.pool.size == 0)
        assert (await client.get("/")).status == 200
        client.close()


async def test_waiting_for_a_connection_is_bounded_in_time_and_number() -> None:
    held = Holding()
    settings = Upstream(url="", connections=1, queue=1, queue_seconds=0.3)
    async with (
        ScriptedUpstream(held) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        first, second, third = [await plane.client() for _ in range(3)]
        await first.send(request("/"))
        await plane.until(lambda: plane.pool.size == 1)
        await second.send(request("/"))
        await plane.until(lambda: plane.pool.statistics.waited == 1)
        refused = await third.get("/")
        assert (refused.status, refused.json()["reason"]) == (503, Reason.OVERLOADED)
        assert refused.fields["retry-after"] == "1"
        late = await second.response()
        assert (late.status, late.json()["reason"]) == (503, Reason.OVERLOADED)
        await second.send(request("/"))
        await plane.until(lambda: plane.pool.statistics.waited == 2)
        held.gate.set()
        assert (await first.response()).status == 200
        assert (await second.response()).status == 200, "the next in the queue is served"
        assert upstream.connections == 1
        for client in (first, second, third):
            client.close()


async def test_a_client_that_leaves_the_queue_leaves_no_trace() -> None:
    held = Holding()
    settings = Upstream(url="", connections=1)
    async with (
        ScriptedUpstream(held) as upstream,
        running_plane(upstream.url, upstream=settings) as plane,
    ):
        first, second, third = [await plane.client() for _ in range(3)]
        await first.send(request("/1"))
        await plane.until(lambda: plane.pool.size == 1)
        await second.send(request("/2"))
        await third.send(request("/3"))
        await plane.until(lambda: plane.pool.statistics.waited == 2)
        second.reset()
        await plane.until(lambda: len(plane.ended) == 1)
        held.gate.set()
        assert (await first.response()).status == 200
        assert (await third.response()).status == 200
        first.close()
        third.close()


async def test_a_client_that_leaves_ends_the_upstream_exchange() -> None:
    """PROMISES 22: no reply, connection or task leaks."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        try:
            await reader.read(1)
        finally:
            left.set()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(request("/"))
        await plane.until(lambda: upstream.connections == 1)
        client.reset()
        async with asyncio.timeout(10):
            await left.wait()
        await plane.until(lambda: plane.pool.size == 0 and plane.server.open_connections == 0)
        assert plane.ended[0].status == 0


async def test_a_request_cut_short_never_reaches_its_end_upstream() -> None:
    whole: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        whole.append((await read_request(reader))[1])

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        for framing in ("Content-Length: 100", "Transfer-Encoding: chunked"):
            client = await plane.client()
            await client.send(request("/", framing, method="POST", body=b"3\r\nabc\r\n"))
            await plane.until(lambda: plane.pool.size == 1)
            client.writer.write_eof()
            await plane.until(lambda: plane.pool.size == 0)
            client.close()
    assert whole == []


SLOW_CLIENTS = {
    "a head that does not come": (b"", None),
    "half a head": (b"GET / HTTP/1.1\r\n", 408),
    "half a body": (request("/", "Content-Length: 10", method="POST", body=b"abc"), 408),
}


@pytest.mark.parametrize("name", SLOW_CLIENTS)
async def test_slow_clients_meet_a_deadline(name: str) -> None:
    octets, status = SLOW_CLIENTS[name]

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(
            upstream.url, listen=quick(head_seconds=0.05, body_idle_seconds=0.05)
        ) as plane,
    ):
        client = await plane.client()
        await client.send(octets)
        if status is not None:
            response = await client.response()
            assert (response.status, response.json()["reason"]) == (408, Reason.REQUEST_TIMEOUT)
            assert response.fields["connection"] == "close"
        assert await client.at_end()
        client.close()
        await plane.until(lambda: plane.pool.size == 0)


async def test_idle_clients_are_closed() -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=quick(keep_alive_seconds=0.05)) as plane,
    ):
        client = await plane.client()
        assert (await client.get("/")).status == 200
        assert await client.at_end()
        client.close()


async def test_a_client_that_does_not_read_is_reset() -> None:
    listen = Listen(
        limits=Limits(slowest_download_bytes_per_second=10_000_000),
        deadlines=Deadlines(write_stall_seconds=0.1),
    )
    async with (
        ScriptedUpstream(endless) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        client = await plane.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        await client.send(request("/"))
        await plane.until(lambda: plane.server.open_connections == 1)
        await plane.until(lambda: plane.server.open_connections == 0)
        await plane.until(lambda: plane.pool.size == 0)
        client.close()


async def test_a_client_that_reads_slowly_gets_everything_in_bounded_memory() -> None:
    """PROMISES 24: a sender is held back by a slow reader, in both directions."""
    size = 30_000_000
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port, limit=2**16)
        client = RawClient(reader, writer)
        await client.send(request("/"))
        await read_head(reader)
        received = 0
        while received < size:
            received += len(await reader.read(65_536))
            # Kernel buffers of four sockets, and little of ours.
            assert sent - received < 16_000_000
        assert received == size
        client.close()


async def test_an_upstream_that_reads_slowly_holds_its_client_back() -> None:
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await gate.wait()
        await reader.readexactly(30_000_000)
        writer.write(OK)
        await writer.drain()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        client.writer.write(request("/", "Content-Length: 30000000", method="POST"))
        written = 0
        with pytest.raises(TimeoutError):
            while written < 30_000_000:
                client.writer.write(b"x" * 100_000)
                async with asyncio.timeout(0.3):
                    await client.writer.drain()
                written += 100_000
        assert written < 20_000_000
        gate.set()
        client.writer.write(b"x" * (30_000_000 - written - 100_000))
        assert (await client.response()).status == 200
        client.close()


MALFORMED = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a climbing path": (request("/a/../b"), 400),
    "length and chunked": (
        request("/", "Content-Length: 1", "Transfer-Encoding: chunked", method="POST"),
        400,
    ),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "TRACE": (request("/", method="TRACE"), 501),
    "a long target": (request("/" + "a" * 9000), 414),
    "an endless target": (b"GET /" + b"a" * 20_000, 414),
    "an endless head": (b"GET / HTTP/1.1\r\nA: " + b"b" * 40_000, 431),
    "a malformed chunk": (
        request("/", "Transfer-Encoding: chunked", method="POST", body=b"zz\r\n"),
        400,
    ),
    "endless trailers": (
        request(
            "/",
            "Transfer-Encoding: chunked",
            method="POST",
            body=b"0\r\n" + b"A: b\r\n" * 5000,
        ),
        431,
    ),
    "a body over its bound": (
        request("/", "Content-Length: 2000000", method="POST", body=b"x" * 1_100_000),
        413,
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_bad_requests_get_a_reason_and_the_connection_ends(name: str) -> None:
    octets, status = MALFORMED[name]
    whole: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        whole.append((await read_request(reader))[0])

    listen = Listen(limits=Limits(body_bytes=1_000_000), deadlines=Deadlines(linger_seconds=0.1))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        client = await plane.client()
        client.writer.write(octets + (b"" if "endless" in name else request("/smuggled")))
        response = await client.response()
        assert response.status == status
        assert response.fields["connection"] == "close"
        assert response.fields["content-type"] == "application/problem+json"
        assert response.json()["request_id"] == response.fields["x-request-id"]
        assert await client.at_end()
        client.close()
        await plane.until(lambda: plane.server.open_connections == 0)
    assert whole == []


async def test_a_denied_upload_is_drained_a_little_and_then_cut() -> None:
    listen = Listen(deadlines=Deadlines(linger_seconds=0.2))
    async with running_plane("http://127.0.0.1:9", listen=listen, routes=_only("/x")) as plane:
        client = await plane.client()
        client.writer.write(request("/", "Content-Length: 100000000", method="POST"))
        response = await client.response()
        assert (response.status, response.fields["connection"]) == (404, "close")
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                client.writer.write(b"x" * 100_000)
                await client.writer.drain()
        client.close()


def _only(path: str) -> list[RouteRule]:
    return [RouteRule(path=path, access="public")]


async def test_connections_beyond_the_ceiling_are_closed() -> None:
    serve, _ = replying(OK)
    listen = Listen(limits=Limits(connections=2))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, listen=listen) as plane,
    ):
        first, second = await plane.client(), await plane.client()
        assert (await first.get("/")).status == 200
        assert (await second.get("/")).status == 200
        third = await plane.client()
        assert await third.at_end()
        assert plane.acceptor.refused == 1
        assert (await first.get("/")).status == 200, "served connections keep being served"
        for client in (first, second, third):
            client.close()


async def test_pipelining_beyond_the_bound_is_not_read() -> None:
    held = Holding()
    async with (
        ScriptedUpstream(held) as upstream,
        running_plane(upstream.url, listen=Listen(limits=Limits(pipeline_bytes=1000))) as plane,
    ):
        client = await plane.client()
        client.writer.write(request("/", "A: " + "b" * 8000) * 2_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.writer.drain()
        held.gate.set()
        for _ in range(2_000):
            assert (await client.response()).status == 200
        client.close()


async def test_draining_finishes_what_is_in_flight() -> None:
    held = Holding()
    async with ScriptedUpstream(held) as upstream, running_plane(upstream.url) as plane:
        busy, idle = await plane.client(), await plane.client()
        await busy.send(request("/"))
        await plane.until(lambda: plane.pool.size == 1 and plane.server.open_connections == 2)
        plane.server.pre_shutdown()
        assert await idle.at_end()
        held.gate.set()
        response = await busy.response()
        assert (response.status, response.fields["connection"]) == (200, "close")
        assert await busy.at_end()
        busy.close()
        idle.close()


async def test_draining_answers_what_does_not_finish() -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.Event().wait()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(request("/"))
        await plane.until(lambda: plane.pool.size == 1)
        plane.server.pre_shutdown()
        await plane.server.shutdown(0.05)
        response = await client.response()
        assert (response.status, response.json()["reason"]) == (503, Reason.DRAINING)
        assert await client.at_end()
        assert [exchange.status for exchange in plane.ended] == [503], "and it is recorded"
        assert plane.pool.size == 0
        client.close()


async def test_draining_breaks_off_a_response_that_does_not_finish() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await asyncio.Event().wait()

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        await client.send(request("/"))
        await read_head(client.reader)
        plane.server.pre_shutdown()
        await plane.server.shutdown(0.05)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.reader.readexactly(10)
        assert len(plane.ended) == 1
        client.close()
