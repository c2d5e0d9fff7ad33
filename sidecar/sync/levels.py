"""The levels below memory: Redis where it may be trusted, then PostgreSQL, which fills Redis.

What is found here is put in memory, or not, by the flight that asked (`sync.tiers`).
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from redis.exceptions import RedisError

from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedToken
from sidecar.model.need import Absent, Found, StoreNeed, shard_of_need
from sidecar.model.shard import SHARDS
from sidecar.sync.keyspace import Head, StoreFact
from sidecar.sync.redis_cache import Filling, Look, RedisCache


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


class Levels:
    """Reads facts from the stores.

    Args:
        primary: PostgreSQL.
        redis: the second level, if there is one.
        redis_seconds: bound on one read of it.
        counts: gets ``fill-failed`` and ``fill-refused-<cause>``.
    """

    def __init__(
        self,
        primary: Primary,
        redis: RedisCache | None,
        redis_seconds: float,
        counts: Counter[str],
    ) -> None:
        self.primary = primary
        self.redis = redis
        self._redis_seconds = redis_seconds
        self._counts = counts
        self._reached = [0] * SHARDS

    def reached(self, shard: int, seq: int) -> None:
        """Changes of `shard` up to `seq` are applied: what Redis knew before them is too old."""
        self._reached[shard] = seq

    async def read(self, need: StoreNeed, *, leased: bool) -> tuple[Loaded, Head | None]:
        """The fact, and the head that a fill of Redis must carry where one is due.

        Args:
            need: what is read.
            leased: whether Redis may be trusted (R8).

        Raises:
            StoresUnavailable: PostgreSQL could not be asked.
        """
        head = None
        if self.redis is not None and leased:
            [look] = await self._look(self.redis, [need])
            if look.fact is not None:
                return Loaded(look.fact, Tier.REDIS), None
            head = look.head
        return Loaded(await self.primary.read(need), Tier.POSTGRES), head

    async def read_many(self, needs: Sequence[StoreNeed]) -> list[StoreFact | None]:
        """What Redis has of `needs`, in their order; nothing when it is away."""
        if self.redis is None or not needs:
            return [None] * len(needs)
        return [look.fact for look in await self._look(self.redis, needs)]

    async def fill(self, need: StoreNeed, loaded: Loaded, head: Head) -> None:
        """Give Redis what PostgreSQL answered after a miss at `head` (R4)."""
        fact = loaded.fact
        if self.redis is None or isinstance(fact, Absent | Denial | VerifiedToken):
            return
        try:
            filled = await self.redis.fill(need, fact, head)
        except (RedisError, OSError):
            self._counts["fill-failed"] += 1
            return
        if filled is not Filling.DONE:
            self._counts[f"fill-refused-{filled}"] += 1

    async def _look(self, redis: RedisCache, needs: Sequence[StoreNeed]) -> list[Look]:
        """Redis is an accelerator: whatever goes wrong with it is a miss."""
        try:
            async with asyncio.timeout(self._redis_seconds):
                looks = (
                    [await redis.look(needs[0])]
                    if len(needs) == 1
                    else await redis.look_many(needs)
                )
        except (RedisError, OSError, TimeoutError):
            return [Look(None, None)] * len(needs)
        return [self._trusted(need, look) for need, look in zip(needs, looks, strict=True)]

    def _trusted(self, need: StoreNeed, look: Look) -> Look:
        """What Redis had, unless news has been applied here that Redis did not know then.

        A change may have been applied here before Redis was told of it, or while we asked a master
        that was replaced: what was found is then older than what is known.
        """
        if look.head is None or look.head.seq < self._reached[shard_of_need(need)]:
            return Look(None, None)
        return look
