"""An upstream that keeps failing is left alone, and comes back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sidecar.limit.breaker import State
from sidecar.model.reason import Reason
from sidecar.settings.schema import Breaker, Deadlines, Forwarded, Listen, Upstream
from tests.plane import (
    OK,
    Plane,
    RawClient,
    ScriptedUpstream,
    read_head,
    read_request,
    request,
    running_plane,
)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BREAKER = Breaker(failures=3, open_seconds=60.0, longest_open_seconds=60.0)
QUICK = Breaker(failures=2, open_seconds=0.1, longest_open_seconds=0.1)
# Clients of many addresses, all by way of one proxy.
PROXIED = Forwarded(trusted=("127.0.0.1",))
NOWHERE = "http://127.0.0.1:1"


def upstream_settings(breaker: Breaker = BREAKER, **more: float) -> Upstream:
    return Upstream(url=NOWHERE, breaker=breaker, **more)  # type: ignore[arg-type] # by name


def state(plane: Plane) -> State:
    assert plane.pool.fuse is not None
    return plane.pool.fuse.state(plane.pool.now())


def answering(*answers: bytes) -> Serve:
    """Gives one of `answers` to each request in turn, and closes after an empty one."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            answer = left.pop(0) if len(left) > 1 else left[0]
            if not answer:
                return
            writer.write(answer)

    return serve


async def reasons(client: RawClient, count: int, *fields: str) -> list[tuple[int, str]]:
    found = []
    for number in range(count):
        answer = await client.get("/", f"X-Forwarded-For: 192.0.2.{number}", *fields)
        found.append((answer.status, answer.json()["reason"] if answer.status >= 400 else ""))
    return found


async def test_without_an_upstream_it_opens_and_says_when_to_come_back() -> None:
    async with running_plane(NOWHERE, upstream=upstream_settings(), forwarded=PROXIED) as plane:
        client = await plane.client()
        assert await reasons(client, 3) == [(502, Reason.UPSTREAM_UNREACHABLE)] * 3
        refused = await client.get("/")
        assert (refused.status, refused.json()["reason"]) == (503, Reason.UPSTREAM_UNAVAILABLE)
        assert int(refused.fields["retry-after"]) in {59, 60}
        assert state(plane) is State.OPEN
        assert plane.pool.statistics.failed == 3, "it was not asked again"
        assert plane.pool.statistics.tripped == 1
        client.close()


async def test_without_settings_nothing_opens() -> None:
    async with running_plane(NOWHERE) as plane:
        client = await plane.client()
        assert await reasons(client, 20) == [(502, Reason.UPSTREAM_UNREACHABLE)] * 20
        client.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", Reason.UPSTREAM_CLOSED),
        (b"nonsense\r\n\r\n", Reason.UPSTREAM_MALFORMED),
        (b"HTTP/1.1 200 OK\r\n", Reason.UPSTREAM_TIMEOUT),
    ],
)
async def test_what_is_no_answer_is_a_failure(answer: bytes, reason: Reason) -> None:
    settings = upstream_settings(head_seconds=0.05)
    async with (
        ScriptedUpstream(answering(answer)) as upstream,
        running_plane(upstream.url, upstream=settings, forwarded=PROXIED) as plane,
    ):
        client = await plane.client()
        found = [what for _, what in await reasons(client, 4)]
        assert found == [reason, reason, reason, Reason.UPSTREAM_UNAVAILABLE]
        client.close()


async def test_answers_are_no_failures_whatever_they_say() -> None:
    error = b"HTTP/1.1 503 x\r\nContent-Length: 2\r\n\r\n{}"
    async with (
        ScriptedUpstream(answering(error)) as upstream,
        running_plane(upstream.url, upstream=upstream_settings(), forwarded=PROXIED) as plane,
    ):
        client = await plane.client()
        assert [(await client.get("/")).body for _ in range(30)] == [b"{}"] * 30
        client.close()


async def test_unless_their_status_is_named() -> None:
    error = b"HTTP/1.1 503 x\r\nContent-Length: 2\r\n\r\n{}"
    breaker = Breaker(failures=3, open_seconds=60.0, longest_open_seconds=60.0, statuses=(503,))
    async with (
        ScriptedUpstream(answering(error)) as upstream,
        running_plane(
            upstream.url, upstream=upstream_settings(breaker), forwarded=PROXIED
        ) as plane,
    ):
        client = await plane.client()
        assert [(await client.get("/")).body for _ in range(3)] == [b"{}"] * 3
        assert (await client.get("/")).json()["reason"] == Reason.UPSTREAM_UNAVAILABLE
        assert plane.pool.statistics.tripped == 1
        client.close()


async def test_one_answer_closes_it_again() -> None:
    async with (
        ScriptedUpstream(answering(b"", b"", OK)) as upstream,
        running_plane(upstream.url, upstream=upstream_settings(QUICK), forwarded=PROXIED) as plane,
    ):
        client = await plane.client()
        assert [status for status, _ in await reasons(client, 3)] == [502, 502, 503]
        await plane.until(lambda: state(plane) is State.HALF_OPEN)
        assert [status for status, _ in await reasons(client, 3)] == [200, 200, 200]
        assert state(plane) is State.CLOSED
        client.close()


async def test_one_request_at_a_time_tries() -> None:
    release = asyncio.Event()
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await read_request(reader)
        asked += 1
        if asked > 2:
            await release.wait()
            writer.write(OK)

    slow = Breaker(failures=2, open_seconds=0.5, longest_open_seconds=0.5)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=upstream_settings(slow), forwarded=PROXIED) as plane,
    ):
        client, probe = await plane.client(), await plane.client()
        await reasons(client, 2)
        await plane.until(lambda: state(plane) is State.HALF_OPEN)
        await probe.send(request("/"))
        await plane.until(lambda: asked == 3)
        assert (await client.get("/")).status == 503
        release.set()
        assert (await probe.response()).status == 200
        assert (await client.get("/")).status == 200
        client.close()
        probe.close()


async def test_who_waits_for_a_connection_is_not_left_waiting() -> None:
    proceed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - it closes without a word
        await read_request(reader)
        await proceed.wait()

    breaker = Breaker(failures=1, open_seconds=60.0, longest_open_seconds=60.0)
    one = upstream_settings(breaker, connections=1)
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=one, forwarded=PROXIED) as plane,
    ):
        clients = [await plane.client() for _ in range(4)]
        for client in clients:
            await client.send(request("/"))
        await plane.until(lambda: plane.pool.statistics.waited == 3)
        proceed.set()
        found = [(await client.response()).status for client in clients]
        # The next one was on its way when the first failed.
        assert sorted(found) == [502, 502, 503, 503]
        assert upstream.connections == 2
        for client in clients:
            client.close()


async def test_a_client_that_does_not_finish_its_request_opens_nothing() -> None:
    """Or anybody could turn everybody else away."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)

    settings = upstream_settings(Breaker(failures=1), head_seconds=0.05)
    listen = Listen(deadlines=Deadlines(body_idle_seconds=30.0))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings, listen=listen, forwarded=PROXIED) as plane,
    ):
        stalled = await plane.client()
        await stalled.send(request("/", "Content-Length: 5", method="POST"))
        assert (await stalled.response()).status == 504
        assert state(plane) is State.CLOSED
        good = await plane.client()
        assert (await good.get("/")).status == 200
        stalled.close()
        good.close()


async def test_a_close_that_crossed_a_request_is_no_failure() -> None:
    """A pooled connection closes as it is used: the request is sent again and answered."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        served += 1
        if served == 1:
            # Reads the next request, and closes without an answer to it.
            await read_request(reader)
            return
        while True:
            await read_request(reader)
            writer.write(OK)

    settings = upstream_settings(Breaker(failures=1))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings, forwarded=PROXIED) as plane,
    ):
        client = await plane.client()
        assert [(await client.get("/")).status for _ in range(3)] == [200, 200, 200]
        assert upstream.connections == 2
        assert state(plane) is State.CLOSED
        client.close()


async def test_a_probe_whose_client_leaves_is_followed_by_another() -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await read_request(reader)
        asked += 1
        if asked == 3:
            await asyncio.Event().wait()
        if asked > 3:
            writer.write(OK)

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=upstream_settings(QUICK), forwarded=PROXIED) as plane,
    ):
        client, probe = await plane.client(), await plane.client()
        await reasons(client, 2)
        await plane.until(lambda: state(plane) is State.HALF_OPEN)
        await probe.send(request("/"))
        await plane.until(lambda: asked == 3)
        probe.reset()
        async with asyncio.timeout(10):
            while (await client.get("/")).status != 200:
                await asyncio.sleep(0.01)
        assert state(plane) is State.CLOSED
        client.close()


@pytest.mark.parametrize(
    "sent",
    [request("/"), request("/", "Content-Length: 10", method="POST", body=b"x")],
    ids=["leaves", "never-finishes"],
)
async def test_a_client_that_is_the_probe_keeps_nobody_out(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = True
    heads = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heads
        await read_head(reader)
        heads += 1
        if failing:
            return
        if heads == BREAKER.failures + 1:
            await asyncio.Event().wait()
        writer.write(OK)

    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=upstream_settings(), forwarded=PROXIED) as plane,
    ):
        client, probe = await plane.client(), await plane.client()
        await reasons(client, BREAKER.failures)
        failing = False
        now = plane.pool.now
        monkeypatch.setattr(plane.pool, "now", lambda: now() + 80)
        assert state(plane) is State.HALF_OPEN
        await probe.send(sent)
        await plane.until(lambda: heads == BREAKER.failures + 1)
        if sent.startswith(b"GET"):
            assert (await client.get("/")).status == 503, "one at a time"
            ended = len(plane.ended)
            probe.reset()
            await plane.until(lambda: len(plane.ended) > ended)
        assert (await client.get("/")).status == 200
        assert state(plane) is State.CLOSED
        client.close()
        probe.close()


async def test_one_client_alone_does_not_open_it_with_requests_that_the_upstream_drops() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if b"Poison" in await read_head(reader):
                return
            writer.write(OK)

    settings = upstream_settings()
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings, forwarded=PROXIED) as plane,
    ):
        client = await plane.client()
        for _ in range(BREAKER.least_requests + 1):
            poisoned = await client.get("/", "X-Forwarded-For: 192.0.2.1", "X: Poison")
            assert poisoned.status == 502
        assert state(plane) is State.CLOSED
        assert (await client.get("/", "X-Forwarded-For: 192.0.2.2")).status == 200
        await reasons(client, BREAKER.failures, "X: Poison")
        assert state(plane) is State.OPEN, "it is, where many clients see it"
        client.close()


async def test_a_close_that_crossed_what_may_not_be_sent_again_opens_nothing() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)

    settings = upstream_settings(Breaker(failures=1))
    async with (
        ScriptedUpstream(serve) as upstream,
        running_plane(upstream.url, upstream=settings, forwarded=PROXIED) as plane,
    ):
        client = await plane.client()
        assert [(await client.get("/", method="POST")).status for _ in range(2)] == [200, 502]
        assert state(plane) is State.CLOSED
        client.close()
