"""Look, invalidate, fill, establish and flush in every order, against real servers.

One reader looks, reads PostgreSQL after its miss, and fills; meanwhile the fact changes, Redis is
told, forgets everything, or begins another life. A value that Redis gives out is never older than
what it was told of.
"""

from dataclasses import dataclass, field
from itertools import permutations
from typing import Final

import pytest
import redis.asyncio

from sidecar.model.change import Change, ChangeKind, ShardState
from sidecar.model.facts import User
from sidecar.model.need import UserNeed
from sidecar.model.shard import shard_of
from sidecar.sync.keyspace import Head
from sidecar.sync.redis_cache import Filling, Outcome, RedisCache

SHARD: Final = shard_of("acme")
ANN: Final = UserNeed("acme", "ann")
FIRST: Final = 5
# Each step happens once; of these only orders in which one comes before the other.
STEPS: Final = ("look", "read", "fill", "commit", "invalidate", "establish", "flush")
BEFORE: Final = (("look", "read"), ("read", "fill"), ("commit", "invalidate"))


def orders(steps: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Those that can be."""
    return [
        order
        for order in permutations(steps)
        if all(
            order.index(one) < order.index(other)
            for one, other in BEFORE
            if one in order and other in order
        )
    ]


@dataclass
class Told:
    """One order, as far as it has gone.

    Attributes:
        truth: what PostgreSQL holds.
        epoch: the one PostgreSQL has chosen.
        told: the highest version that Redis was told of; nothing older may come from it.
    """

    cache: RedisCache
    client: redis.asyncio.Redis
    truth: int = FIRST
    epoch: int = 1
    told: int = FIRST
    seen: Head | None = None
    value: int | None = None
    fillings: list[Filling] = field(default_factory=list)

    def state(self, epoch: int | None = None) -> ShardState:
        return ShardState(SHARD, self.truth, epoch or self.epoch)

    async def take(self, step: str) -> None:
        match step:
            case "look":
                self.seen = (await self.cache.look(ANN)).head
            case "read":
                self.value = self.truth
            case "fill":
                await self._fill()
            case "commit":
                self.truth += 1
            case "invalidate":
                change = Change(SHARD, self.truth, ChangeKind.USER, "acme", "ann", self.truth)
                answer = await self.cache.invalidate(self.state(), [change])
                if answer.outcome is Outcome.DONE:
                    self.told = self.truth
            case "establish":
                self.epoch += 1
                if await self.cache.establish(self.state()):
                    self.told = self.truth
            case "flush":
                await self.client.delete(self.cache.keys.head(SHARD))

    async def _fill(self) -> None:
        assert self.value is not None
        if self.seen is None:
            return
        fact = User(version=self.value, tenant="acme", subject="ann")
        self.fillings.append(await self.cache.fill(ANN, fact, self.seen))

    async def check(self) -> None:
        """Whoever looks now."""
        found = (await self.cache.look(ANN)).fact
        assert found is None or found.version >= self.told


@pytest.mark.parametrize(
    "steps",
    [
        ("look", "read", "fill", "commit", "invalidate", "establish"),
        ("look", "read", "fill", "commit", "invalidate", "flush"),
        ("look", "read", "fill", "establish", "flush"),
    ],
    ids=["establish", "flush", "establish and flush"],
)
async def test_every_order(
    steps: tuple[str, ...], l2: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    refused: set[Filling] = set()
    for order in orders(steps):
        await redis_client.delete(
            *(await redis_client.keys(l2.keys.head(SHARD).removesuffix("head") + "*") or [b"none"])
        )
        assert await l2.establish(ShardState(SHARD, FIRST, 1)), order
        told = Told(l2, redis_client)
        for step in order:
            await told.take(step)
            try:
                await told.check()
            except AssertionError as error:
                raise AssertionError(f"after {step} in {order}") from error
        refused |= set(told.fillings)
    assert Filling.DONE in refused
    assert len(refused) > 1


async def test_the_whole_of_it(l2: RedisCache, redis_client: redis.asyncio.Redis) -> None:
    """All seven steps."""
    every = orders(STEPS)
    assert len(every) == 420
    for order in every:
        await redis_client.delete(l2.keys.head(SHARD), l2.keys.value(ANN), l2.keys.log(SHARD))
        assert await l2.establish(ShardState(SHARD, FIRST, 1)), order
        told = Told(l2, redis_client)
        for step in order:
            await told.take(step)
            await told.check()


async def test_a_fill_that_asks_nobody_is_found(
    l2: RedisCache, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proof that the test above could fail: a fill that takes the head of now (without R4)."""

    async def fill_anyway(self: Told) -> None:
        assert self.value is not None
        head = (await self.cache.look(ANN)).head
        if head is not None:
            fact = User(version=self.value, tenant="acme", subject="ann")
            self.fillings.append(await self.cache.fill(ANN, fact, head))

    monkeypatch.setattr(Told, "_fill", fill_anyway)
    with pytest.raises(AssertionError, match="after fill in"):
        await test_every_order(STEPS[:6], l2, redis_client)
