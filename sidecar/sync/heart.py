"""The heartbeat: a write that confirms what was applied and learns what there is (SYNC.md).

Its answer is the only thing that renews the lease. What it shows to be missing is replayed
(`replay`). Each server is asked on its own: one that is away costs the leases of its shards.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from sidecar.cache.following import Beat, Verdict
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache
from sidecar.sync.cancellation import heed_cancellation
from sidecar.sync.doubts import Doubts, States
from sidecar.sync.follower import PATIENCE_SECONDS, Follower, Missing
from sidecar.sync.keyspace import Head, News
from sidecar.sync.replay import Changes, Replays

_log: Final = logging.getLogger(__name__)
_ALL: Final = frozenset(range(SHARDS))
# At the end; a server that is well answers within a few milliseconds.
_LAST_SECONDS: Final = 0.25


class Pulse(Protocol):
    """Redis, as far as heartbeats concern it (`RedisCache`); all raise `RedisError`."""

    async def together(self, shards: Iterable[int], /) -> list[set[int]]:
        """These shards in groups that one server answers for."""
        ...

    async def beat(
        self, member: str, watermarks: dict[int, int | None], /
    ) -> dict[int, Head | None]:
        """A heartbeat for each of these shards; what was answered."""
        ...

    async def resign(self, member: str, /) -> None:
        """The end of these heartbeats."""
        ...

    async def log(self, shard: int, first: int, last: int, /) -> list[News]:
        """What the log holds."""
        ...


class Truth(Changes, States, Protocol):
    """PostgreSQL, as far as it makes up for Redis (`store.outbox.Outbox`)."""


class Heart:
    """Beats until it is stopped or cancelled.

    Args:
        pulse: where it beats.
        outbox: where what is missing is found at last; asked when Redis seems to have less.
        cache: interval of heartbeats.
        follower: what the answers are given to; tells when a change waits for confirmation.
        member: this process: 128 random bits (R7).
        instant: the clock of leases.

    Attributes:
        following: set while all of memory may be used.
    """

    def __init__(
        self,
        pulse: Pulse,
        outbox: Truth,
        cache: Cache,
        follower: Follower,
        *,
        member: str,
        instant: Callable[[], float],
    ) -> None:
        self._pulse = pulse
        self._interval = cache.heartbeat_seconds
        self._follower = follower
        self._member = member
        self._instant = instant
        self._wanted: set[int] = set()
        self._called = asyncio.Event()
        self._is_failing = False
        self._is_stopped = False
        self._beating = asyncio.Lock()
        self._replays = Replays(follower, outbox, pulse, instant=instant, ended=self.want)
        self._doubted: set[int] = set()
        self._doubts = Doubts(
            follower, outbox, cache.heartbeat_seconds, instant=instant, settled=self.want
        )
        self.following = asyncio.Event()
        follower.on_applied = self.want

    def want(self, shard: int | None = None) -> None:
        """Beat at once: a change of `shard` waits to be confirmed, or all (None) are in doubt."""
        self._wanted |= _ALL if shard is None else {shard}
        self._called.set()

    async def run(self) -> None:
        """Returns when it was stopped."""
        due = self._instant()
        try:
            while not self._is_stopped:
                heed_cancellation()
                shards = set(self._wanted)
                if self._instant() >= due:
                    shards = set(_ALL)
                    due = self._instant() + self._interval
                self._wanted.clear()
                self._called.clear()
                async with self._beating:
                    await self._round(shards)
                behind = self._behind(patience=0.0)
                pause = PATIENCE_SECONDS if behind else max(0.0, due - self._instant())
                self._wanted |= {each.shard for each in behind}
                try:
                    async with asyncio.timeout(pause):
                        await self._called.wait()
                except TimeoutError:
                    continue
        finally:
            await self._replays.stop()
            await self._doubts.stop()

    async def stop(self) -> None:
        """Beat no more. What is in the air is waited for: it might be served after `resign`.

        But not where no server answers: this process is waited for then like one that died.
        """
        self._is_stopped = True
        self._called.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS), self._beating:
                pass

    async def resign(self) -> None:
        """Sign off, once this is stopped: a change is `applied` without us from now on (R2).

        In this order: leases are given up, and then Redis forgets us. The other way round somebody
        would be told `applied` while we still went by a lease. Whoever does not get to it, because
        it died, is waited for until it can hold none.
        """
        self._follower.resign()
        self.following.clear()
        try:
            await self._pulse.resign(self._member)
        except (RedisError, OSError) as error:
            _log.info("could not sign off from Redis: %s", type(error).__name__)

    async def _round(self, shards: set[int]) -> None:
        try:
            leased = await self.beat(shards)
        except (RedisError, OSError):
            leased = self._follower.is_leased(self._instant())
        if leased:
            self.following.set()
        else:
            self.following.clear()

    async def beat(self, shards: set[int]) -> bool:
        """One heartbeat for `shards`; the replay of what it shows to be missing begins.

        Returns:
            Whether all of memory may be used now.

        Raises:
            RedisError, OSError: no server could be asked.
        """
        try:
            groups = await self._pulse.together(shards)
        except (RedisError, OSError) as error:
            self._tell(error)
            raise
        failures = await asyncio.gather(*(self._beat(group) for group in groups))
        self._replays.start(self._behind(PATIENCE_SECONDS))
        self._doubts.start(self._doubted)
        self._doubted.clear()
        failed = [failure for failure in failures if failure is not None]
        if failed or shards == _ALL:
            self._tell(failed[0] if failed else None)
        if failed and len(failed) == len(groups):
            raise failed[0]
        return self._follower.is_leased(self._instant())

    async def _beat(self, shards: set[int]) -> RedisError | OSError | None:
        """A heartbeat for shards of one server; why it was not answered for all of them."""
        sent = self._instant()
        watermarks = {shard: self._follower.watermark(shard) for shard in sorted(shards)}
        try:
            answers = await self._pulse.beat(self._member, watermarks)
        except (RedisError, OSError) as error:
            return error
        now = self._instant()
        for shard, head in answers.items():
            answer = None if head is None else Beat(head.seq, head.epoch, head.incarnation)
            verdict = self._follower.beaten(shard, sent, answer, now)
            if verdict is Verdict.SUSPECT and answer is not None:
                # Of an earlier epoch, or less than it had: only PostgreSQL knows why.
                self._doubted.add(shard)
        if len(answers) < len(shards):
            return RedisConnectionError("some shards are not where they were")
        return None

    def _behind(self, patience: float) -> list[Missing]:
        """What has to be replayed, is not yet, and may be."""
        missing = self._follower.missing(self._instant(), patience)
        return [each for each in missing if self._replays.may_start(each.shard)]

    def _tell(self, error: Exception | None) -> None:
        """Once for each outage, and once for its end."""
        if error is not None and not self._is_failing:
            _log.warning("no heartbeat with Redis: %s", type(error).__name__)
        elif error is None and self._is_failing:
            _log.info("heartbeats with Redis again")
        self._is_failing = error is not None
