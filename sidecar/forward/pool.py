"""Connections to one upstream: the last used is used first, waiting is bounded.

Requests that still wait for their client's body get a share of the connections, so that a complete
one finds a place however many clients upload slowly (PROMISES 19). So do those whose clients do not
read their answers (`forward.stalls`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from sidecar.clock import NEVER, Sweeper
from sidecar.forward.connection import UpstreamConnection
from sidecar.forward.deadline import Deadline
from sidecar.forward.fuse import Fuse
from sidecar.forward.stalls import Stalls
from sidecar.limit.breaker import State
from sidecar.model.reason import Reason
from sidecar.parse.response import ResponseReader
from sidecar.settings.schema import Upstream

if TYPE_CHECKING:
    from sidecar.forward.exchange import Exchange

_LOG: Final = logging.getLogger(__name__)
# As if it had been open for too long already.
_NEVER_AGAIN: Final = -1.0
# Of its connections, uploads under way have this share at most, and one in any case.
_UPLOAD_SHARE: Final = 0.75
# How an upstream that is well may end what it does not like about one request.
_PERHAPS_ITS_OWN: Final = frozenset((Reason.UPSTREAM_CLOSED, Reason.UPSTREAM_MALFORMED))

Connect = Callable[[Callable[[], UpstreamConnection]], Awaitable[UpstreamConnection]]


@dataclass(slots=True)
class PoolStatistics:
    """What a pool counts.

    Attributes:
        opened: connections made.
        reused: exchanges that found an idle connection.
        failed: connections that could not be made.
        unsolicited: connections ended because the upstream sent what nobody asked for.
        waited: exchanges that had to wait for a free connection.
        tripped: how often the circuit breaker opened.
    """

    opened: int = 0
    reused: int = 0
    failed: int = 0
    unsolicited: int = 0
    waited: int = 0
    tripped: int = 0


@dataclass(eq=False)
class Waiting:
    """An exchange in the queue, with a deadline of its own."""

    pool: "UpstreamPool"
    exchange: "Exchange"
    deadline: float

    def expire(self) -> None:
        """Waited too long for a free connection."""
        self.deadline = NEVER
        self.exchange.fail(Reason.OVERLOADED)

    def leave(self) -> None:
        """The exchange is over: whoever comes next moves up."""
        self.pool.leave(self)


class UpstreamPool:
    """The connections to one upstream.

    Args:
        name: of the upstream, for metrics.
        settings: its limits and deadlines.
        connect: makes a connection; raises OSError or TimeoutError.
        sweeper: looks at the deadlines of its connections.
        fuse: keeps requests from an upstream that fails; None where nothing does.

    Attributes:
        stalls: exchanges that hold a connection for clients that do not keep up.
    """

    def __init__(
        self,
        name: str,
        settings: Upstream,
        connect: Connect,
        sweeper: Sweeper,
        fuse: Fuse | None = None,
    ) -> None:
        self.fuse: Final = fuse
        self.name: Final = name
        self.settings: Final = settings
        self.reader: Final = ResponseReader()
        self.statistics: Final = PoolStatistics()
        loop = asyncio.get_running_loop()
        self.now: Final = loop.time
        self._loop = loop
        self._connect = connect
        self._sweeper = sweeper
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._queue: deque[Waiting] = deque()
        # Incomplete requests that have a connection or are next to have one; those without a place.
        self._uploads: set[Exchange] = set()
        self._parked: dict[Exchange, Waiting] = {}
        self.stalls: Final = Stalls(settings, self.now, sweeper, self._queue)
        self._most_uploads: Final = max(1, int(settings.connections * _UPLOAD_SHARE))

    @property
    def size(self) -> int:
        """Connections open or being opened."""
        return len(self._all) + len(self._connecting)

    @property
    def idle(self) -> int:
        """Connections that wait for an exchange."""
        return len(self._idle)

    def serve(self, exchange: "Exchange", *, fresh: bool = False) -> None:
        """Give `exchange` a connection: now, when one is made, or when one is free.

        Args:
            exchange: told through its `start_on` or `fail`.
            fresh: no connection that is idle now (for the one retry of PROMISES 20); one that
                has just served is fresh enough.
        """
        fuse = self.fuse
        if fuse is not None and not fresh and not fuse.admits(exchange, self.now()):
            exchange.fail(Reason.UPSTREAM_UNAVAILABLE, retry_after=fuse.retry_after(self.now()))
            return
        if not exchange.is_request_sent:
            if len(self._uploads) >= self._most_uploads:
                self._park(exchange)
                return
            self._uploads.add(exchange)
        # Who waits already is first: newcomers do not take what is about to be handed over.
        while self._idle and not fresh and not self._queue:
            connection = self._idle.pop()
            if connection.is_quiet:
                self.statistics.reused += 1
                exchange.start_on(connection)
                return
        if self.size < self.settings.connections and not self._queue:
            self._open(exchange)
        elif len(self._queue) < self.settings.queue:
            self._queue.append(self._waiting(exchange))
            self.stalls.make_room()
        else:
            exchange.fail(Reason.OVERLOADED)

    def _park(self, exchange: "Exchange") -> None:
        """Too many uploads are under way: it waits for the end of one, or of its own."""
        if len(self._parked) < self.settings.queue:
            self._parked[exchange] = self._waiting(exchange)
        else:
            exchange.fail(Reason.OVERLOADED)

    def _waiting(self, exchange: "Exchange") -> Waiting:
        self.statistics.waited += 1
        waiting = Waiting(self, exchange, self.now() + self.settings.queue_seconds)
        self._sweeper.watch(waiting)
        exchange.queued(waiting)
        return waiting

    def uploaded(self, exchange: "Exchange") -> None:
        """`exchange` no longer waits for its client: its request is complete, or it is over."""
        self._uploads.discard(exchange)
        if not self._parked:
            return
        own = self._parked.pop(exchange, None)
        if own is not None:
            self._queue.append(own)
        while self._parked and len(self._uploads) < self._most_uploads:
            parked = next(iter(self._parked))
            self._uploads.add(parked)
            self._queue.append(self._parked.pop(parked))
        if self._queue:
            self._loop.call_soon(self._hand_over)
            self.stalls.make_room()

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection whose exchange ended cleanly rests, until the next one takes it.

        Whoever takes it looks first whether anything has arrived meanwhile (`is_quiet`); what is
        not quiet is left to the loop, which ends it when it reads. Who waits in the queue gets it
        by way of the loop, not within the callback that ends another exchange.
        """
        now = self.now()
        if now >= connection.retires:
            connection.discard()
            return
        connection.deadline = now + connection.idle_seconds
        self._idle.append(connection)
        if self._queue:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        while self._queue and self._idle:
            connection = self._idle.pop()
            if connection.is_quiet:
                self._next_waiting().start_on(connection)
        self._wake()

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection ended; idempotent."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        self._sweeper.forget(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake()

    def _wake(self) -> None:
        """Open connections for those who wait, as far as there is room."""
        while self._queue and not self._idle and self.size < self.settings.connections:
            self._open(self._next_waiting())

    def leave(self, waiting: "Waiting") -> None:
        """An exchange is over before it got a connection: its place in the queue is free."""
        if waiting in self._queue:
            self._queue.remove(waiting)
        else:
            self._parked.pop(waiting.exchange, None)
        self._sweeper.forget(waiting)

    def count_unsolicited(self) -> None:
        """A connection sent what nobody asked for."""
        self.statistics.unsolicited += 1

    def answered(self, exchange: "Exchange", status: int) -> None:
        """The upstream has begun to answer with `status`. Only asked of where there is a fuse."""
        if self.fuse is not None:
            self.fuse.answered(exchange, status, self.now())
            self.statistics.tripped = self.fuse.opened

    def failed(self, exchange: "Exchange", reason: Reason) -> None:
        """The upstream failed `exchange`: no connection, or no answer to a complete request."""
        if self.fuse is None:
            return
        now = self.now()
        if reason in _PERHAPS_ITS_OWN:
            self.fuse.dropped(exchange, now)
        else:
            self.fuse.failed(exchange, now)
        self.statistics.tripped = self.fuse.opened
        if self.fuse.state(now) is State.OPEN:
            # Who waits for a connection would only find the same.
            retry_after = self.fuse.retry_after(now)
            while self._queue or self._parked:
                self._next_waiting().fail(Reason.UPSTREAM_UNAVAILABLE, retry_after=retry_after)

    def left(self, exchange: "Exchange") -> None:
        """`exchange` is over, perhaps before anything was heard of the upstream."""
        if self.fuse is not None:
            self.fuse.left(exchange, self.now())

    def under_way(self) -> "list[Exchange]":
        """The exchanges that have a connection, and those that wait for one."""
        found = (connection.exchange for connection in self._all)
        waiting = (each.exchange for each in (*self._queue, *self._parked.values()))
        return [*(exchange for exchange in found if exchange is not None), *waiting]

    def for_handshakes(self) -> "UpstreamPool":
        """A pool of its own for handshakes: each gets a new connection, and none is used again.

        As many may be under way as this one has connections. It has a circuit breaker of its own,
        with the same settings: an application that fails at WebSockets may be well otherwise.
        """
        settings = msgspec.structs.replace(self.settings, connection_seconds=_NEVER_AGAIN)
        fuse = None if self.fuse is None else self.fuse.another()
        return UpstreamPool(self.name, settings, self._connect, self._sweeper, fuse)

    async def close(self) -> None:
        """End all connections, those in use too."""
        self.stalls.close()
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in list(self._all):
            connection.discard()

    def _next_waiting(self) -> "Exchange":
        """Out of the queue; where that is empty, of those who are parked."""
        waiting = self._queue.popleft() if self._queue else self._parked.popitem()[1]
        self._sweeper.forget(waiting)
        return waiting.exchange

    def _open(self, exchange: "Exchange") -> None:
        task = asyncio.create_task(self._connect_for(exchange))
        self._connecting.add(task)

    async def _connect_for(self, exchange: "Exchange") -> None:
        task = asyncio.current_task()
        failure: Reason | None = None
        connection: UpstreamConnection | None = None
        try:
            async with Deadline(self.settings.connect_seconds):
                connection = await self._connect(lambda: UpstreamConnection(self))
        except TimeoutError:
            failure = Reason.UPSTREAM_TIMEOUT
        except OSError:
            failure = Reason.UPSTREAM_UNREACHABLE
        except Exception:  # noqa: BLE001 - whatever it was, whoever waits must hear of it
            # For instance a name that cannot even be looked up.
            _LOG.exception("connecting to upstream %s failed", self.name)
            failure = Reason.UPSTREAM_UNREACHABLE
        finally:
            # Not a moment between: `size` counts the connection or its making, never both or none.
            if task is not None:
                self._connecting.discard(task)
        if connection is None:
            self.statistics.failed += 1
            failure = failure or Reason.UPSTREAM_UNREACHABLE
            self.failed(exchange, failure)
            exchange.fail(failure)
            self._wake()
            return
        self.statistics.opened += 1
        self._all.add(connection)
        self._sweeper.watch(connection)
        if exchange.is_over:
            self.give_back(connection)
        else:
            exchange.start_on(connection)
