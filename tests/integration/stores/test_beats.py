"""Heartbeats for several shards in one call: each is answered as if it had been asked alone."""

import time
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ResponseError

from sidecar.model.change import ShardState
from sidecar.sync.keyspace import Head
from sidecar.sync.redis_cache import RedisCache
from sidecar.sync.redis_client import RedisClient

ME = "m" * 32
SUSPECT, REPLACED, BROKEN, EPOCHLESS = 3, 5, 8, 11
WATERMARKS: dict[int, int | None] = {shard: shard + 100 for shard in range(16)} | {2: None}


@pytest.fixture
async def mixed(l2: RedisCache, redis_client: redis.asyncio.Redis) -> RedisCache:
    """Sixteen shards: twelve good ones, and four in which something is wrong."""
    for shard in range(16):
        assert await l2.establish(ShardState(shard, 10 + shard, 1 + shard, f"life {shard}"))
    keys = l2.keys
    await redis_client.delete(keys.head(SUSPECT))
    await redis_client.hset(keys.head(REPLACED), "identity", "a" * 40 + "/" + "b" * 40)
    await redis_client.hdel(keys.head(EPOCHLESS), "epoch")
    await redis_client.delete(keys.head(BROKEN))
    await redis_client.set(keys.head(BROKEN), "not a hash")
    return l2


@pytest.fixture(params=["all at once", "as in a Cluster"])
def way(request: pytest.FixtureRequest, client: RedisClient) -> str:
    """How the client calls scripts for several shards."""
    setattr(client, "sharded", request.param == "as in a Cluster")  # noqa: B010  Final for mypy
    return str(request.param)


async def _members(cache: RedisCache, client: redis.asyncio.Redis) -> dict[int, dict[str, str]]:
    """By shard, who has confirmed what in which epoch; without the time."""
    found = {}
    for shard in set(range(16)) - {BROKEN}:
        served: Any = await client.hgetall(cache.keys.members(shard))
        found[shard] = {
            member.decode(): text.decode().rpartition(" ")[0]
            for member, text in served.items()
            if member != b"clock"
        }
    return found


@pytest.mark.usefixtures("way")
async def test_each_shard_is_answered_as_if_alone(
    mixed: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    together = await mixed.beat(ME, WATERMARKS)
    members = await _members(mixed, redis_client)
    for shard in range(16):
        if shard != BROKEN:
            await redis_client.hdel(mixed.keys.members(shard), ME)
    alone: dict[int, Head | None] = {}
    for shard, watermark in WATERMARKS.items():
        if shard == BROKEN:
            with pytest.raises(ResponseError):
                await mixed.beat(ME, {shard: watermark})
        else:
            alone |= await mixed.beat(ME, {shard: watermark})
    assert together == alone
    assert members == await _members(mixed, redis_client)


@pytest.mark.usefixtures("way")
async def test_what_is_wrong_with_a_shard_costs_that_shard(
    mixed: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    wrong = {SUSPECT, REPLACED, EPOCHLESS}
    heads: dict[int, Head | None] = {
        shard: Head(10 + shard, 1 + shard, 10 + shard, f"life {shard}") for shard in range(16)
    } | dict.fromkeys(wrong)
    del heads[BROKEN]
    assert await mixed.heads() == heads
    assert await mixed.beat(ME, WATERMARKS) == heads
    assert await _members(mixed, redis_client) == {
        shard: {}
        if shard in wrong
        else {ME: f"{-1 if WATERMARKS[shard] is None else WATERMARKS[shard]} {1 + shard}"}
        for shard in heads
    }


async def test_the_first_call_after_the_server_forgot_its_scripts(
    mixed: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    await redis_client.script_flush()
    assert len(await mixed.beat(ME, WATERMARKS)) == 15


async def test_the_time_of_a_confirmation_is_the_servers(mixed: RedisCache) -> None:
    await mixed.beat(ME, {0: 7})
    _, _, [confirmation] = await mixed.members(0)
    assert (confirmation.member, confirmation.watermark, confirmation.epoch) == (ME, 7, 1)
    assert 0 <= confirmation.age < 60


async def test_silent_members_are_forgotten_and_no_others(
    mixed: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    now = time.time() * 1000
    gone: dict[Any, Any] = {f"gone{each}": f"5 1 {now - 70_000:.0f}" for each in range(300)}
    silent: dict[Any, Any] = {f"silent{each}": f"5 1 {now - 40_000:.0f}" for each in range(50)}
    for shard in (0, 15):
        await redis_client.hset(mixed.keys.members(shard), mapping=gone | silent)
    left: list[set[Any]] = []
    for _ in range(10_000):
        await mixed.beat(ME, {0: 1, 15: 1})
        left = [set(await redis_client.hkeys(mixed.keys.members(shard))) for shard in (0, 15)]
        if all(len(each) == 52 for each in left):
            break
    assert left == [{ME.encode(), b"clock", *map(str.encode, silent)}] * 2


async def leap(client: redis.asyncio.Redis, cache: RedisCache, seconds: float) -> None:
    """The server's time leaps: as seen from what it was when it was read last."""
    last, epoch, at = (await client.hget(cache.keys.members(0), "clock") or b"").split()
    read = int(last) - round(seconds * 1000)
    await client.hset(cache.keys.members(0), "clock", f"{read} {int(epoch)} {int(at)}")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("lost", ["deleted", "of another epoch", "not a hash"])
async def test_where_the_members_are_lost_the_shard_is_suspect_until_it_begins_anew(
    lost: str, mixed: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    """Whoever was listed may hold a lease, and could not be waited for."""
    key = mixed.keys.members(0)
    await mixed.beat(ME, {0: 7})
    if lost == "of another epoch":
        await redis_client.hset(key, "clock", "1 7 1")
    else:
        await redis_client.delete(key)
    if lost == "not a hash":
        await redis_client.set(key, "not a hash")
    assert (await mixed.heads())[0] is None
    assert await mixed.beat(ME, {0: 7}) == {0: None}
    assert await mixed.members(0) == (None, 0.0, [])
    assert await mixed.establish(ShardState(0, 10, 2, "life 0"))
    assert (
        (await mixed.beat(ME, {0: 7}))[0] == (await mixed.heads())[0] == Head(10, 2, 10, "life 0")
    )
    _, age, [confirmation] = await mixed.members(0)
    assert (confirmation.member, confirmation.epoch) == (ME, 2)
    assert age < 60


@pytest.mark.parametrize(("seconds", "most"), [(3600.0, 2.0), (1e9, 2.0), (-3600.0, 0.0)])
async def test_a_leap_of_the_servers_time_makes_nothing_older_than_two_seconds_more(
    seconds: float, most: float, mixed: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    """So nobody who lives is forgotten, and no epoch is taken for an old one."""
    await mixed.beat(ME, {0: 7})
    for _ in range(5):
        _, before, _ = await mixed.members(0)
        await leap(redis_client, mixed, seconds)
        _, after, [confirmation] = await mixed.members(0)
        assert after == pytest.approx(before + most)
        assert 0 <= confirmation.age <= after
    await leap(redis_client, mixed, seconds)
    await mixed.beat(ME, {0: 7})
    _, _, [confirmation] = await mixed.members(0)
    assert confirmation.age < most + 60


@pytest.mark.usefixtures("way")
async def test_who_resigns_is_forgotten_and_nobody_else(
    mixed: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    for member in (ME, "other"):
        await mixed.beat(member, WATERMARKS)
    clocks = [await redis_client.hget(mixed.keys.members(shard), "clock") for shard in (0, 15)]
    await mixed.resign(ME)
    members = await _members(mixed, redis_client)
    wrong = {SUSPECT, REPLACED, EPOCHLESS}
    assert {shard: set(each) for shard, each in members.items()} == {
        shard: set() if shard in wrong else {"other"} for shard in members
    }
    assert clocks == [
        await redis_client.hget(mixed.keys.members(shard), "clock") for shard in (0, 15)
    ]
    await mixed.resign(ME)
    assert (await mixed.members(0))[2] != []
