"""Who gets a connection, in the turns of the loop that no network can be made to hit."""

import asyncio
from collections.abc import Callable
from typing import Any

from sidecar.clock import Sweeper
from sidecar.forward.connection import UpstreamConnection
from sidecar.forward.pool import UpstreamPool
from sidecar.model.reason import Reason
from sidecar.settings.schema import Upstream


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

    def __init__(self) -> None:
        self.connection: Any = None
        self.reason: Reason | None = None
        self.is_queued = False

    def start_on(self, connection: Any) -> None:
        self.connection = connection

    def queued(self, waiting: Any) -> None:
        assert waiting.exchange is self
        self.is_queued = True

    def fail(self, reason: Reason, *, retry_after: int = 0) -> None:
        assert retry_after == 0
        self.reason = reason


def pool(**settings: Any) -> UpstreamPool:
    async def connect(make: Callable[[], UpstreamConnection]) -> Any:  # noqa: ARG001 - the pool's signature
        return Connection()

    upstream = Upstream(url="http://127.0.0.1:1", **settings)
    return UpstreamPool("app", upstream, connect, Sweeper())


def serve(on: UpstreamPool) -> Exchange:
    exchange = Exchange()
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
