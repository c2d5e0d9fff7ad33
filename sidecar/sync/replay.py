"""What was missed is applied afterwards: from Redis's log, then from PostgreSQL's outbox.

In pages, so that neither a store nor the loop is held up, and in tasks, so that heartbeats go on
for the other shards. What neither store has, and what is too much, is made up for by forgetting.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

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


class Replays:
    """Replays, one of a shard at a time.

    Args:
        follower: what is replayed to.
        outbox: where everything of the last hour is.
        log: where it is found sooner; None without Redis.
        instant: the clock of leases.
        ended: called with the shard when there is nothing more to replay for now.
    """

    def __init__(
        self,
        follower: Follower,
        outbox: Changes,
        log: Log | None,
        *,
        instant: Callable[[], float],
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._follower = follower
        self._outbox = outbox
        self._log = log
        self._instant = instant
        self._ended = ended
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failing = False

    @property
    def under_way(self) -> frozenset[int]:
        """The shards that are being replayed."""
        return frozenset(self._tasks)

    def start(self, each: Iterable[Missing]) -> None:
        """Begin to replay these, but for shards that are being replayed."""
        for missing in each:
            if missing.shard not in self._tasks:
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
        except Exception:  # noqa: BLE001  a bug must not leave the shard waiting for ever
            _log.exception("a replay broke off")
        else:
            self._failing = False
        finally:
            del self._tasks[missing.shard]
        self._ended(missing.shard)

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
