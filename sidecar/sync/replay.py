"""What was missed is applied afterwards: from Redis's log, then from PostgreSQL's outbox.

In pages, so that neither a store nor the loop is held up, and in tasks, so that heartbeats go on
for the other shards. What neither store has, and what is too much, is made up for by forgetting.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from redis.exceptions import RedisError

from sidecar.model.change import Change
from sidecar.model.errors import StoresUnavailable
from sidecar.sync.follower import Follower, Missing
from sidecar.sync.keyspace import News

_log: Final = logging.getLogger(__name__)
# A page takes some milliseconds to read and to apply.
PAGE: Final = 1000
# Loading anew what was forgotten costs less than replaying more than this.
MOST: Final = 20_000
# Pauses after a replay that failed: doubled from the first to the last, so that a store that is
# back is found soon, and one that is away is not asked by a whole fleet all the time.
_FIRST_PAUSE_SECONDS: Final = 0.1
_LAST_PAUSE_SECONDS: Final = 2.0


class Log(Protocol):
    """Redis's log (`RedisCache`)."""

    async def log(self, shard: int, first: int, last: int, /) -> list[News]:
        """What it holds of the changes `first` to `last`; raises `RedisError`."""
        ...


class Changes(Protocol):
    """PostgreSQL's outbox (`store.outbox.Outbox`)."""

    async def after(self, shard: int, seq: int, limit: int = ..., /) -> tuple[Change, ...]:
        """The changes after `seq`; raises `StoresUnavailable`."""
        ...


class _Failed(NamedTuple):
    """The last replay of a shard broke off.

    Attributes:
        until: instant before which it is not tried again.
        pause_seconds: the next pause, before jitter.
    """

    until: float
    pause_seconds: float


class Replays:
    """Replays, one of a shard at a time.

    Args:
        follower: what is replayed to.
        outbox: where everything of the last hour is.
        log: where it is found sooner; None without Redis.
        instant: the clock of leases.
        ended: called with the shard when what was missing has been replayed.
        jitter: random numbers in [0, 1), so that a fleet does not try again in step.
    """

    def __init__(
        self,
        follower: Follower,
        outbox: Changes,
        log: Log | None,
        *,
        instant: Callable[[], float],
        ended: Callable[[int], None] = lambda _: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._follower = follower
        self._outbox = outbox
        self._log = log
        self._instant = instant
        self._ended = ended
        self._jitter = jitter
        self._failed: dict[int, _Failed] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failing = False

    @property
    def under_way(self) -> frozenset[int]:
        """The shards that are being replayed."""
        return frozenset(self._tasks)

    def may_start(self, shard: int) -> bool:
        """Whether `shard` is not being replayed, and has not failed a moment ago."""
        failed = self._failed.get(shard)
        is_due = failed is None or self._instant() >= failed.until
        return is_due and shard not in self._tasks

    def start(self, each: Iterable[Missing]) -> None:
        """Begin to replay these, where it may."""
        for missing in each:
            if self.may_start(missing.shard):
                task = asyncio.create_task(self._guarded(missing), name="replay")
                self._tasks[missing.shard] = task

    async def wait(self, seconds: float) -> None:
        """Until all have ended, or `seconds` have passed."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=seconds)

    async def stop(self) -> None:
        """Break off what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, missing: Missing) -> None:
        try:
            await self.replay(missing)
        except StoresUnavailable as error:
            if not self._failing:
                _log.warning("what was missed cannot be replayed: %s", error)
            self._failing = True
            self._pause(missing.shard)
        except Exception:  # noqa: BLE001  a bug must not leave the shard waiting for ever
            _log.exception("a replay broke off")
            self._pause(missing.shard)
        else:
            self._failing = False
            self._failed.pop(missing.shard, None)
            self._ended(missing.shard)
        finally:
            del self._tasks[missing.shard]

    def _pause(self, shard: int) -> None:
        failed = self._failed.get(shard)
        pause = _FIRST_PAUSE_SECONDS if failed is None else failed.pause_seconds
        until = self._instant() + pause * (0.5 + self._jitter() / 2)
        self._failed[shard] = _Failed(until, min(2 * pause, _LAST_PAUSE_SECONDS))

    async def replay(self, missing: Missing) -> None:
        """Apply what is missing, or forget the shard.

        Raises:
            StoresUnavailable: PostgreSQL could not be asked for what the log lacks.
        """
        shard, first, last, life = missing
        while first <= last:
            page = Missing(shard, first, min(first + PAGE - 1, last), life)
            found: Sequence[News] = []
            if last - first < MOST:
                found = await self._find(page)
            if not _is_complete(page, found):
                # Nothing of what follows matters after forgetting.
                page = missing._replace(first=first)
            if not self._follower.replay(page, found, self._instant()):
                return
            first = page.last + 1
            await asyncio.sleep(0)

    async def _find(self, page: Missing) -> Sequence[News]:
        if self._log is not None:
            try:
                found = await self._log.log(page.shard, page.first, page.last)
            except (RedisError, OSError):
                found = []
            if _is_complete(page, found):
                return found
        changes = await self._outbox.after(page.shard, page.first - 1, PAGE)
        return [News(0, *change) for change in changes if change.seq <= page.last]


def _is_complete(page: Missing, found: Sequence[News]) -> bool:
    known = {news.seq for news in found if news.shard == page.shard}
    return known.issuperset(range(page.first, page.last + 1))
