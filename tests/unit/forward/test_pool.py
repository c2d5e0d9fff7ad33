"""Who gets a connection, in the turns of the loop that no network can be made to hit."""

import asyncio
from collections.abc import Callable
from typing import Any

from sidecar.clock import Sweeper
from sidecar.forward.connection import UpstreamConnection
from sidecar.forward.fuse import Fuse
from sidecar.forward.pool import UpstreamPool
from sidecar.model.reason import Reason
from sidecar.settings.schema import Breaker, Upstream


class Connection:
    """At rest or not; nothing is sent."""

    is_open = is_quiet = True
    idle_seconds = 60.0
    retires = float("inf")
    deadline = float("inf")

    def discard(self) -> None:
        raise AssertionError("nobody ends it")


class Exchange:
    """Remembers what it was given."""

    is_over = False
    is_request_sent = True

    def __init__(self) -> None:
        self.connection: Any = None
        self.reason: Reason | None = None
        self.waiting: Any = None
        self.is_queued = False

    def start_on(self, connection: Any) -> None:
        self.connection = connection

    def queued(self, waiting: Any) -> None:
        assert waiting.exchange is self
        self.waiting = waiting
        self.is_queued = True

    def fail(self, reason: Reason, *, retry_after: int = 0) -> None:
        assert (retry_after > 0) is (reason is Reason.UPSTREAM_UNAVAILABLE)
        self.reason = reason


def pool(fuse: Fuse | None = None, **settings: Any) -> UpstreamPool:
    async def connect(make: Callable[[], UpstreamConnection]) -> Any:  # noqa: ARG001 - the pool's signature
        return Connection()

    upstream = Upstream(url="http://127.0.0.1:1", **settings)
    return UpstreamPool("app", upstream, connect, Sweeper(), fuse)


def serve(on: UpstreamPool, *, complete: bool = True) -> Exchange:
    exchange = Exchange()
    exchange.is_request_sent = complete
    on.serve(exchange)  # type: ignore[arg-type] # all that a pool asks of one
    return exchange


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_newcomer_does_not_take_what_is_about_to_be_handed_over() -> None:
    one = pool(connections=1)
    first = serve(one)
    await turns()
    waiting = serve(one)
    assert waiting.is_queued
    one.give_back(first.connection)
    newcomer = serve(one)
    assert newcomer.connection is None, "in the very turn in which a connection came back"
    await turns()
    assert waiting.connection is first.connection
    assert newcomer.connection is None
    one.give_back(waiting.connection)
    await turns()
    assert newcomer.connection is first.connection


async def test_a_newcomer_does_not_open_a_connection_before_those_who_wait() -> None:
    two = pool(connections=1)
    first = serve(two)
    await turns()
    waiting = serve(two)
    two._all.clear()  # as if it had ended in this turn, and nobody had been told yet
    newcomer = serve(two)
    assert newcomer.is_queued
    two._wake()
    await turns()
    assert first.connection is not None
    assert waiting.connection is not None


async def test_a_full_queue_refuses_at_once() -> None:
    one = pool(connections=1, queue=1)
    serve(one)
    serve(one)
    late = serve(one)
    assert late.reason is Reason.OVERLOADED
    assert one.statistics.waited == 1


def uploads(on: UpstreamPool, count: int) -> list[Exchange]:
    return [serve(on, complete=False) for _ in range(count)]


def uploaded(on: UpstreamPool, exchange: Exchange) -> None:
    exchange.is_request_sent = True
    on.uploaded(exchange)  # type: ignore[arg-type] # all that a pool asks of one


async def test_uploads_leave_connections_to_complete_requests() -> None:
    four = pool(connections=4)
    slow = uploads(four, 6)
    await turns()
    assert [each.connection is not None for each in slow] == [True] * 3 + [False] * 3
    complete = serve(four)
    await turns()
    assert complete.connection is not None


async def test_an_upload_without_a_place_gets_one_when_another_is_complete() -> None:
    four = pool(connections=4)
    slow = uploads(four, 5)
    await turns()
    uploaded(four, slow[0])
    await turns()
    assert slow[3].connection is not None
    assert slow[4].connection is None


async def test_an_upload_without_a_place_gets_one_as_soon_as_it_is_complete_itself() -> None:
    four = pool(connections=4)
    slow = uploads(four, 5)
    await turns()
    uploaded(four, slow[4])
    await turns()
    assert slow[4].connection is not None
    assert slow[3].connection is None


async def test_an_upload_that_leaves_its_place_in_the_queue_is_not_served() -> None:
    four = pool(connections=4)
    slow = uploads(four, 5)
    slow[3].waiting.leave()
    uploaded(four, slow[0])
    await turns()
    assert slow[3].connection is None
    assert slow[4].connection is not None


async def test_one_upload_has_a_place_in_the_smallest_pool() -> None:
    one = pool(connections=1)
    (upload,) = uploads(one, 1)
    await turns()
    assert upload.connection is not None


async def test_too_many_uploads_without_a_place_are_refused_and_nobody_else_is() -> None:
    four = pool(connections=4, queue=1)
    slow = uploads(four, 5)
    assert [each.reason for each in slow] == [None] * 4 + [Reason.OVERLOADED]
    assert serve(four).reason is None


async def test_uploads_without_a_place_hear_that_the_upstream_is_gone() -> None:
    settings = Breaker(failures=1, open_seconds=60.0)
    four = pool(Fuse(settings, lambda: 0.5), connections=4)
    slow = uploads(four, 5)
    four.failed(slow[0], Reason.UPSTREAM_TIMEOUT)  # type: ignore[arg-type] # all that a pool asks of one
    assert [each.reason for each in slow[3:]] == [Reason.UPSTREAM_UNAVAILABLE] * 2
