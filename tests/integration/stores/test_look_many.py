"""Reading many facts at once finds what reading each of them does, and no more."""

import pytest
import redis.asyncio

from sidecar.model.change import ShardState
from sidecar.model.facts import RoleGraph, Session, User
from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.model.shard import SHARDS, shard_of
from sidecar.sync import redis_cache as redis_cache_module
from sidecar.sync.keyspace import Head
from sidecar.sync.redis_cache import Filling, Look, RedisCache

SHARD = shard_of("acme")
OTHER = shard_of("globex")
USERS = [UserNeed("acme", f"user-{number}") for number in range(5)]


def user(need: UserNeed) -> User:
    return User(version=1, tenant=need.tenant, subject=need.subject)


@pytest.fixture
async def cache(l2: RedisCache) -> RedisCache:
    """Two shards that are known, at sequences 5 and 7; the others are suspect."""
    assert SHARD != OTHER
    assert await l2.establish(ShardState(SHARD, 5, 1))
    assert await l2.establish(ShardState(OTHER, 7, 2))
    return l2


async def test_facts_of_all_kinds_and_shards_come_in_the_order_asked(
    cache: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache_module, "_BATCH", 2)
    session = Session(version=0, id="one", tenant="acme", subject="user-1", expires_at=1.5)
    facts: dict[StoreNeed, Session | User | RoleGraph] = {
        USERS[0]: user(USERS[0]),
        USERS[3]: user(USERS[3]),
        SessionNeed(b"\x07" * 32, SHARD): session,
        RolesNeed("globex"): RoleGraph(version=3, tenant="globex"),
    }
    for need, fact in facts.items():
        seen = (await cache.look(need)).head
        assert seen is not None
        assert await cache.fill(need, fact, seen) is Filling.DONE
    suspect = SessionNeed(b"\x08" * 32, next(n for n in range(SHARDS) if n not in {SHARD, OTHER}))
    needs: list[StoreNeed] = [*facts, suspect, *USERS]
    looks = await cache.look_many(needs)
    assert looks == [await cache.look(need) for need in needs]
    assert looks[0] == looks[5] == Look(user(USERS[0]), Head(5, 1, 5))
    assert looks[3] == Look(facts[RolesNeed("globex")], Head(7, 2, 7))
    assert looks[4] == Look(None, None)
    assert looks[6] == Look(None, Head(5, 1, 5))


async def test_nothing_is_asked_for_nothing(cache: RedisCache) -> None:
    assert await cache.look_many([]) == []


async def test_what_an_earlier_epoch_left_is_a_miss(cache: RedisCache) -> None:
    assert await cache.fill(USERS[0], user(USERS[0]), Head(5, 1)) is Filling.DONE
    assert await cache.establish(ShardState(SHARD, 5, 2))
    assert await cache.look_many(USERS[:1]) == [Look(None, Head(5, 2, 5))]


async def test_a_server_without_the_scripts_is_told_them(
    cache: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    assert await cache.fill(USERS[0], user(USERS[0]), Head(5, 1)) is Filling.DONE
    await redis_client.script_flush()
    assert (await cache.look_many(USERS[:1]))[0].fact == user(USERS[0])
