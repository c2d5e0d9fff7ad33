"""The heartbeat: a write that confirms what was applied and learns what there is (SYNC.md).

Its answer is the only thing that renews the lease. What it shows to be missing is replayed from
Redis's log, then from PostgreSQL's outbox; what neither has is made up for by forgetting all.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from redis.exceptions import RedisError

from sidecar.cache.following import Beat
from sidecar.model.change import Change
from sidecar.model.errors import StoresUnavailable
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache
from sidecar.sync.cancellation import heed_cancellation
from sidecar.sync.follower import PATIENCE_SECONDS, Follower, Missing
from sidecar.sync.keyspace import Head, News

_log: Final = logging.getLogger(__name__)
_ALL: Final = frozenset(range(SHARDS))
_PAGE: Final = 1000


class Pulse(Protocol):
    """Redis, as far as heartbeats concern it (`RedisCache`); all raise `RedisError`."""

    async def beat(
        self, member: str, watermarks: dict[int, int | None], /
    ) -> dict[int, Head | None]:
        """A heartbeat for each of these shards."""
        ...

    async def log(self, shard: int, first: int, last: int, /) -> list[News]:
        """What the log holds."""
        ...


class Changes(Protocol):
    """PostgreSQL's outbox (`store.outbox.Outbox`)."""

    async def after(self, shard: int, seq: int, limit: int = ..., /) -> tuple[Change, ...]:
        """The changes after `seq`; raises `StoresUnavailable`."""
        ...


class Heart:
    """Beats until it is cancelled.

    Args:
        pulse: where it beats.
        outbox: where what is missing is found at last.
        cache: interval of heartbeats.
        follower: what the answers are given to; tells when a change waits for confirmation.
        member: this process: 128 random bits (R7).
        instant: the clock of leases.

    Attributes:
        following: set while memory may be used.
    """

    def __init__(
        self,
        pulse: Pulse,
        outbox: Changes,
        cache: Cache,
        follower: Follower,
        *,
        member: str,
        instant: Callable[[], float],
    ) -> None:
        self._pulse = pulse
        self._outbox = outbox
        self._interval = cache.heartbeat_seconds
        self._follower = follower
        self._member = member
        self._instant = instant
        self._wanted: set[int] = set()
        self._called = asyncio.Event()
        self._is_failing = False
        self.following = asyncio.Event()
        follower.on_applied = self.want

    def want(self, shard: int | None = None) -> None:
        """Beat at once: a change of `shard` waits to be confirmed, or all (None) are in doubt."""
        self._wanted |= _ALL if shard is None else {shard}
        self._called.set()

    async def run(self) -> None:
        """Never returns."""
        due = self._instant()
        while True:
            heed_cancellation()
            shards = set(self._wanted)
            if self._instant() >= due:
                shards = set(_ALL)
                due = self._instant() + self._interval
            self._wanted.clear()
            self._called.clear()
            await self._round(shards)
            behind = self._follower.missing(self._instant(), patience=0.0)
            pause = PATIENCE_SECONDS if behind else max(0.0, due - self._instant())
            if behind:
                self._wanted |= {each.shard for each in behind}
            try:
                async with asyncio.timeout(pause):
                    await self._called.wait()
            except TimeoutError:
                continue

    async def _round(self, shards: set[int]) -> None:
        try:
            renewed = await self.beat(shards)
            self._tell(None)
        except (RedisError, OSError, StoresUnavailable) as error:
            renewed = False
            self._tell(error)
        if renewed:
            self.following.set()
        elif not self._follower.is_leased(self._instant()):
            self.following.clear()

    async def beat(self, shards: set[int]) -> bool:
        """One heartbeat for `shards`, and the replay of what it shows to be missing.

        Returns:
            Whether memory may be used now.

        Raises:
            RedisError: Redis could not be asked.
            StoresUnavailable: neither could PostgreSQL, for what is missing.
        """
        sent = self._instant()
        watermarks = {shard: self._follower.watermark(shard) for shard in sorted(shards)}
        answers = await self._pulse.beat(self._member, watermarks)
        now = self._instant()
        for shard, head in answers.items():
            answer = None if head is None else Beat(head.seq, head.epoch, head.incarnation)
            self._follower.beaten(shard, sent, answer, now)
        for missing in self._follower.missing(now):
            await self._replay(missing)
        return self._follower.is_leased(self._instant())

    async def _replay(self, missing: Missing) -> None:
        found = await self._pulse.log(*missing)
        if len(found) < missing.last - missing.first + 1:
            found = await from_outbox(self._outbox, missing)
        self._follower.replay(missing, found, self._instant())
        self._wanted.add(missing.shard)
        self._called.set()

    def _tell(self, error: Exception | None) -> None:
        """Once for each outage, and once for its end."""
        if error is not None and not self._is_failing:
            _log.warning("no heartbeat with Redis: %s", type(error).__name__)
        elif error is None and self._is_failing:
            _log.info("heartbeats with Redis again")
        self._is_failing = error is not None


async def from_outbox(outbox: Changes, missing: Missing) -> list[News]:
    """What the outbox holds of `missing`; nothing when that is too much to replay.

    Raises:
        StoresUnavailable: PostgreSQL could not be asked.
    """
    if missing.last - missing.first >= _PAGE:
        return []
    changes = await outbox.after(missing.shard, missing.first - 1, _PAGE)
    return [News(0, *change) for change in changes if change.seq <= missing.last]
