"""Clients that do not read what they asked for, and the connections they hold meanwhile.

A client is waited for patiently (`listen.pace`), for as long as nobody else waits for its
connection to the upstream. While somebody does, those who take next to nothing keep a share of the
connections, and the longest of them give way: their answers break off visibly (PROMISES 7, 19).
"""

from collections.abc import Callable, Collection
from itertools import islice
from typing import TYPE_CHECKING, Final

from sidecar.clock import NEVER, Sweeper
from sidecar.model.reason import Reason
from sidecar.settings.schema import Upstream

if TYPE_CHECKING:
    from sidecar.forward.exchange import Exchange

# Of the connections; as with uploads (`forward.pool`), the rest is for those who get on.
_SHARE: Final = 0.75
# Of the time for which others may have to wait: for so long a client is looked at before it gives
# way. What it took earlier does not count, as much of that went into buffers of its kernel; and
# should the first look have met that, there is time for a second one.
_LOOK_SHARE: Final = 0.4


class Stalls:
    """The exchanges of a pool whose clients do not keep up.

    Args:
        settings: the pool's.
        now: the loop's clock.
        sweeper: looks at `deadline`.
        queue: who waits for a connection; those who give way leave theirs to it.

    Attributes:
        deadline: when the next one may have to give way.
    """

    def __init__(
        self,
        settings: Upstream,
        now: Callable[[], float],
        sweeper: Sweeper,
        queue: Collection[object],
    ) -> None:
        self.deadline = NEVER
        self._most: Final = int(settings.connections * _SHARE)
        self._seconds: Final = settings.queue_seconds * _LOOK_SHARE
        self._now: Final = now
        self._sweeper: Final = sweeper
        self._queue: Final = queue
        # Those who are not looked at, by when they stopped; and since when the others are.
        self._unseen: dict[Exchange, None] = {}
        self._seen: dict[Exchange, float] = {}

    def begin(self, exchange: "Exchange") -> None:
        """Its client does not keep up; idempotent."""
        if exchange not in self._seen:
            self._unseen.setdefault(exchange)
        if self._queue:
            self.make_room()

    def end(self, exchange: "Exchange") -> None:
        """Its client reads again, or it holds no connection any more; idempotent."""
        self._unseen.pop(exchange, None)
        self._seen.pop(exchange, None)

    def make_room(self) -> None:
        """Let as many give way as others wait, of those who have more than their share."""
        now = self._now()
        while self._queue and self._excess > 0 and self._seen:
            exchange, since = next(iter(self._seen.items()))
            if now < since + self._seconds:
                break
            self.end(exchange)
            if exchange.lags():
                # Its connection ends, and another is opened for the first of the queue.
                exchange.fail(Reason.OVERLOADED)
            else:
                self._unseen[exchange] = None
        if self._queue and self._excess > 0:
            self._look(now)
        else:
            self.close()

    @property
    def _excess(self) -> int:
        return len(self._unseen) + len(self._seen) - self._most

    def _look(self, now: float) -> None:
        """Begin to look at as many as have more than their share: each costs a system call."""
        for exchange in list(islice(self._unseen, max(0, self._excess - len(self._seen)))):
            del self._unseen[exchange]
            self._seen[exchange] = now
            exchange.lags()
        self.deadline = next(iter(self._seen.values())) + self._seconds
        self._sweeper.watch(self)

    def expire(self) -> None:
        """Sweeper: somebody was looked at for long enough, if others still wait."""
        self.make_room()

    def close(self) -> None:
        """Nobody has to give way for now."""
        self.deadline = NEVER
        self._sweeper.forget(self)
