"""The levels below memory: Redis where it may be trusted, then PostgreSQL, which fills Redis.

What is found here is put in memory, or not, by the flight that asked (`sync.tiers`). Reads go in
batches where many come at once (`sync.batches`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from redis.exceptions import RedisError

from sidecar.model.decision import Denial
from sidecar.model.need import Absent, Found, SessionNeed, StoreNeed, shard_of_need
from sidecar.model.shard import SHARDS
from sidecar.sync.batches import Batches, Question
from sidecar.sync.keyspace import Head, StoreFact
from sidecar.sync.redis_cache import Filling, Look, RedisCache

# Needs in one question to a store: what takes the loop, and a connection, a few milliseconds.
_MOST: Final = 64
# Batches asked of PostgreSQL at the same time, as many as there are connections; and of each shard
# in Redis. A shard has batches of its own, because of a Cluster some servers may be away.
_PRIMARY_AT_ONCE: Final = 4
_SHARD_AT_ONCE: Final = 2
_MOST_TO_FILL: Final = 4096


class Tier(StrEnum):
    """Where an answer came from."""

    MEMORY = "memory"
    REDIS = "redis"
    POSTGRES = "postgres"
    VERIFIER = "verifier"


class Loaded(NamedTuple):
    """An answer and where it came from."""

    fact: Found | Denial
    tier: Tier


class Primary(Protocol):
    """The truth (`store.facts.FactStore`)."""

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        """The fact or `ABSENT`; raises `StoresUnavailable`."""
        ...

    async def read_many(
        self, needs: Sequence[StoreNeed]
    ) -> Sequence[StoreFact | Absent | Exception]:
        """The same for some dozens, in their order; what failed of them in its place.

        Raises:
            StoresUnavailable: all of them failed.
        """
        ...


class Reading(Question):
    """One read on its way through the levels; `sync.tiers` says what becomes of it.

    Args:
        need: what is read.
        redis_until: the loop's time after which a Redis that does not answer is not waited for.
        until: see `Question`.

    Attributes:
        head: of Redis at its miss, which a fill must carry (R4).
    """

    __slots__ = ("head", "need", "redis_until")

    def __init__(self, need: StoreNeed, redis_until: float, until: float) -> None:
        # A session leads to its user and the roles of its tenant.
        super().__init__(until, is_first=isinstance(need, SessionNeed))
        self.need = need
        self.redis_until = redis_until
        self.head: Head | None = None

    def land(self, loaded: Loaded) -> bool:
        """It is answered; tells whether Redis may have the answer, too."""
        raise NotImplementedError


class _Fill(NamedTuple):
    need: StoreNeed
    fact: StoreFact
    head: Head


class Levels:
    """Reads facts from the stores.

    Args:
        primary: PostgreSQL.
        redis: the second level, if there is one.
        redis_seconds: bound on one read of it.
        counts: gets ``fill-failed`` and ``fill-refused-<cause>``.
        is_leased: whether Redis may be trusted for a need, now (R8).
        tasks: what runs is in there, to be ended by whoever owns it.
    """

    def __init__(
        self,
        primary: Primary,
        redis: RedisCache | None,
        redis_seconds: float,
        counts: Counter[str],
        *,
        is_leased: Callable[[StoreNeed], bool],
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self.primary = primary
        self.redis = redis
        self._redis_seconds = redis_seconds
        self._counts = counts
        self._is_leased = is_leased
        self._tasks = tasks
        self._reached = [0] * SHARDS
        # What waits to be given to Redis; beyond the most, the oldest is not.
        self._to_fill: deque[_Fill] = deque(maxlen=_MOST_TO_FILL)
        self._is_filling = False
        # Whether Redis did not answer when it was last asked.
        self._is_silent = False
        self._primary_batches: Batches[Reading] = Batches(
            self._ask_primary, tasks, at_once=_PRIMARY_AT_ONCE, most=_MOST
        )
        self._shard_batches: list[Batches[Reading]] = [
            Batches(self._ask_redis, tasks, at_once=_SHARD_AT_ONCE, most=_MOST)
            for _ in range(SHARDS)
        ]

    def reached(self, shard: int, seq: int) -> None:
        """Changes of `shard` up to `seq` are applied: what Redis knew before them is too old."""
        self._reached[shard] = seq

    def start(self, reading: Reading) -> None:
        """Read, wherever it may be; `reading` is told."""
        if self.redis is not None and self._is_leased(reading.need):
            self._shard_batches[shard_of_need(reading.need)].add(reading)
        else:
            self._primary_batches.add(reading)

    async def read_many(self, needs: Sequence[StoreNeed]) -> list[StoreFact | None]:
        """What Redis has of `needs`, in their order; nothing when it is away."""
        if self.redis is None or not needs:
            return [None] * len(needs)
        looks = [
            await self._read(look)
            for look in await self._look(self.redis, needs, self._redis_seconds)
        ]
        return [self._trusted(need, look).fact for need, look in zip(needs, looks, strict=True)]

    async def _ask_redis(self, readings: Sequence[Reading]) -> None:
        """Ends what Redis knows; PostgreSQL is asked for the rest."""
        redis, now = self.redis, asyncio.get_running_loop().time()
        assert redis is not None  # noqa: S101  narrows
        # They may have waited: a lease is what it is at the question.
        asked: list[Reading] = []
        for reading in readings:
            is_late = self._is_silent and now >= reading.redis_until
            if is_late or not self._is_leased(reading.need):
                self._primary_batches.add(reading)
            else:
                asked.append(reading)
        if not asked:
            return
        # Half of what is left, so that one that hangs leaves as much to PostgreSQL.
        seconds = (min(reading.until for reading in asked) - now) / 2
        looks = await self._look(redis, [reading.need for reading in asked], seconds)
        # What takes long to decode comes last, and keeps nobody else waiting.
        for reading, look in sorted(
            zip(asked, looks, strict=True), key=lambda each: each[1].unread is not None
        ):
            if look.unread is None or not reading.is_over:
                self._land(reading, await self._read(look))

    def _land(self, reading: Reading, look: Look) -> None:
        if reading.is_over:
            return
        look = self._trusted(reading.need, look)
        if look.fact is None:
            reading.head = look.head
            self._primary_batches.add(reading)
        else:
            reading.land(Loaded(look.fact, Tier.REDIS))

    async def _ask_primary(self, readings: Sequence[Reading]) -> None:
        """Ends all of `readings`, and fills Redis."""
        facts: Sequence[StoreFact | Absent | Exception]
        if len(readings) == 1:
            facts = [await self.primary.read(readings[0].need)]
        else:
            facts = await self.primary.read_many([reading.need for reading in readings])
        fills: list[_Fill] = []
        for reading, fact in zip(readings, facts, strict=True):
            if reading.is_over:
                continue
            if isinstance(fact, Exception):
                reading.fail(fact)
                continue
            may_fill = reading.land(Loaded(fact, Tier.POSTGRES))
            if may_fill and reading.head is not None and not isinstance(fact, Absent):
                fills.append(_Fill(reading.need, fact, reading.head))
        if fills and self.redis is not None:
            self._to_fill += fills
            # One batch after the other: whoever reads goes first.
            if not self._is_filling:
                self._is_filling = True
                task = asyncio.create_task(self._fill_all(self.redis))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _fill_all(self, redis: RedisCache) -> None:
        try:
            while self._to_fill:
                count = min(len(self._to_fill), _MOST)
                await self._fill(redis, [self._to_fill.popleft() for _ in range(count)])
        finally:
            self._is_filling = False

    async def _fill(self, redis: RedisCache, fills: Sequence[_Fill]) -> None:
        """Give Redis what PostgreSQL answered after a miss at their heads (R4)."""
        filled: Sequence[Filling | None]
        try:
            filled = (
                [await redis.fill(*fills[0])] if len(fills) == 1 else await redis.fill_many(fills)
            )
        except (RedisError, OSError):
            filled = [None] * len(fills)
        for each in filled:
            if each is None:
                self._counts["fill-failed"] += 1
            elif each is not Filling.DONE:
                self._counts[f"fill-refused-{each}"] += 1

    async def _look(
        self, redis: RedisCache, needs: Sequence[StoreNeed], seconds: float
    ) -> list[Look]:
        """Redis is an accelerator: whatever goes wrong with it is a miss.

        What has to be read of the answer takes the loop's time, not Redis's: `_read` is not
        bounded by `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                looks = (
                    [await redis.look(needs[0])]
                    if len(needs) == 1
                    else await redis.look_many(needs)
                )
        except (RedisError, OSError, TimeoutError):
            self._is_silent = True
            return [Look(None, None)] * len(needs)
        self._is_silent = False
        return looks

    @staticmethod
    async def _read(look: Look) -> Look:
        return look if look.unread is None else Look(await look.unread.read(), look.head)

    def _trusted(self, need: StoreNeed, look: Look) -> Look:
        """What Redis had, unless news has been applied here that Redis did not know then.

        A change may have been applied here before Redis was told of it, or while we asked a master
        that was replaced: what was found is then older than what is known.
        """
        if look.head is None or look.head.seq < self._reached[shard_of_need(need)]:
            return Look(None, None)
        return look
