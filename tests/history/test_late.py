"""A relay that stands still between choosing an epoch (PostgreSQL) and telling Redis of it.

Found by `test_history` with ``SIDECAR_HISTORY_SUSPENDED=1``; here without chance. Each is marked
as a known gap of the protocol until it is closed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import pytest
from redis.exceptions import RedisError

from sidecar.clock import instant
from sidecar.embedded import EmbeddedStack
from sidecar.model.change import Change, Level, ShardState
from sidecar.model.facts import Status, User
from sidecar.model.need import UserNeed
from sidecar.model.shard import SHARDS, shard_of
from sidecar.settings.schema import Redis
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from sidecar.sync.acknowledge import Acknowledgement, Acknowledger
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from tests.history.core import BOUNDS, CACHE, Mode, sidecar

_ALICE: Final = UserNeed("acme", "alice")
_SHARD: Final = shard_of("acme")


class Plane:
    """PostgreSQL with an active user, a Redis that knows of it, and an administrator."""

    def __init__(self, pool: Pool, cache: RedisCache) -> None:
        self.users = Users(pool)
        self.outbox = Outbox(pool)
        self.cache = cache

    async def chosen(self) -> list[ShardState]:
        """What a relay tells Redis, which took it for lost; it tells later."""
        return [
            await self.outbox.renew(state.shard, state.epoch)
            for state in await self.outbox.states()
        ]

    async def told(self, chosen: list[ShardState]) -> None:
        """The relay goes on."""
        for state in chosen:
            await self.cache.establish(state)

    async def forget(self) -> None:
        """Redis is flushed, as far as it is ours."""
        keys = self.cache.keys
        names = [(keys.head(each), keys.log(each), keys.members(each)) for each in range(SHARDS)]
        await self.cache._client.delete(*(name for three in names for name in three))

    async def disable(self) -> tuple[Change, ...]:
        """By somebody who was not there before, as the command line is."""
        changes = await self.users.set_status("acme", "alice", Status.DISABLED)
        publisher = Publisher(self.cache, self.outbox)
        assert await publisher.publish(changes) is Level.PUBLISHED
        await publisher.catch_up()
        return changes

    async def acknowledged(
        self, changes: tuple[Change, ...], seconds: float = 0.0
    ) -> Acknowledgement:
        return await Acknowledger(self.cache, self.outbox, BOUNDS).wait(changes, seconds)


@pytest.fixture
def redis(stack: EmbeddedStack, database: str) -> Redis:
    return Redis(url=stack.redis_url, prefix=f"late-{database.rpartition('test_')[2]}")


@pytest.fixture
async def plane(pool: Pool, redis: Redis) -> AsyncIterator[Plane]:
    client = open_client(redis)
    ready = Plane(pool, RedisCache(client, redis.prefix, 60))
    await Tenants(pool).create("acme", "Acme")
    await ready.users.create("acme", "alice")
    await Publisher(ready.cache, ready.outbox).catch_up()
    yield ready
    await client.aclose()


async def _a_lease() -> None:
    """Epochs grow older than all leases; nothing else is waited for."""
    await asyncio.sleep(CACHE.lease_seconds * 1.1)


@pytest.mark.xfail(reason="the age of an epoch counts from its choice, not from its beginning")
async def test_an_epoch_that_began_late_is_young(plane: Plane) -> None:
    """Until it begins, Redis vouches for the epoch before, whose members it then forgets."""
    chosen = await plane.chosen()
    await _a_lease()
    await plane.told(chosen)
    found = await plane.acknowledged(await plane.disable())
    assert found.level is Level.PUBLISHED, "a lease of the epoch before may still run"


@pytest.mark.xfail(reason="two that choose an epoch at once share it, and each begins it")
async def test_an_epoch_that_began_twice_is_young(plane: Plane) -> None:
    """The second time it is another life of Redis's content, without the members of the first."""
    chosen = await plane.chosen()
    await plane.told(chosen)
    await _a_lease()
    await plane.forget()
    await plane.told(chosen)
    found = await plane.acknowledged(await plane.disable())
    assert found.level is Level.PUBLISHED, "a lease of the first life may still run"


@pytest.mark.xfail(reason="a sidecar believes any epoch, also one that PostgreSQL has left behind")
async def test_an_epoch_that_is_over_gives_no_lease(
    plane: Plane, redis: Redis, database: str
) -> None:
    """What was applied meanwhile, Redis does not know of; nor does who was cut off."""
    async with sidecar(Mode(), redis, database) as cut_off:
        await cut_off.tiers.load(_ALICE, instant())
        cut_off.commands.cut()
        cut_off.news.cut()
        await plane.forget()
        chosen = await plane.chosen()
        found = await plane.acknowledged(await plane.disable(), 10.0)
        assert found.level is Level.APPLIED
        await plane.forget()
        await plane.told(chosen)
        cut_off.mend()
        for _ in range(5):
            # The first use of a connection that was cut fails.
            with suppress(RedisError, OSError):
                await cut_off.heart.beat(set(range(SHARDS)))
        user = (await cut_off.tiers.load(_ALICE, instant())).fact
        assert isinstance(user, User)
        assert user.status is Status.DISABLED
