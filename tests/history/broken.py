"""The product with one rule of SYNC.md left out: what the checker must catch."""

import math

from sidecar.cache.acknowledgement import Bounds
from sidecar.cache.following import Beat, Following, Verdict
from sidecar.cache.memory import Memory
from sidecar.model.need import Need, StoreNeed, shard_of_need
from sidecar.sync.keyspace import Head, StoreFact
from sidecar.sync.redis_cache import Filling, RedisCache
from sidecar.sync.tiers import Tiers
from tests.history.core import CACHE, Mode


class _NothingDoomed(Tiers):
    def doom(self, need: Need) -> None:
        pass

    def doom_tenant(self, tenant: str) -> None:
        pass

    def doom_all(self) -> None:
        pass


class _Endless(Memory):
    __slots__ = ()

    def lease(self, shard: int, _: float, /) -> None:
        super().lease(shard, math.inf)


class _Trusting(Following):
    """A heartbeat renews whatever the head is, and what is missing is not noticed by it."""

    __slots__ = ()

    def beat(self, sent: float, answer: Beat | None, now: float) -> Verdict:
        verdict = super().beat(sent, answer, now)
        if verdict is not Verdict.BEHIND:
            return verdict
        self._behind_since = None
        self.lease_until = sent + self._lease
        return Verdict.RENEWED


class _FillsAnyway(RedisCache):
    """Fills carry the head of now instead of that of their miss."""

    async def fill(self, need: StoreNeed, fact: StoreFact, head: Head) -> Filling:
        known = (await self.heads()).get(shard_of_need(need))
        return await super().fill(need, fact, known or head)


BROKEN = [
    Mode("reads in flight are not doomed (R6)", tiers=_NothingDoomed),
    Mode("memory needs no lease", memory=_Endless),
    Mode("heartbeats renew although the watermark is behind", following=_Trusting),
    # With L = 0 everybody counts as silent for longer than a lease.
    Mode("applied without waiting for confirmations (R2)", bounds=Bounds(0.0, 0.0)),
    # Members are of this epoch only: who holds a lease of the one before is not listed.
    Mode("applied in an epoch of any age (R2)", bounds=Bounds(CACHE.lease_seconds, -3600.0)),
]
# Takes half a minute to show: a sidecar that missed a message must fill before its next heartbeat.
RARE = [Mode("fills are not refused (R4)", redis=_FillsAnyway)]
