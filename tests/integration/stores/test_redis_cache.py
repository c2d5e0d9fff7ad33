"""The scripts in Redis: fills and invalidations in every order, gaps, epochs, wrong values."""

import asyncio
from typing import Any

import pytest
import redis.asyncio

from sidecar.model.change import Change, ChangeKind, ShardState
from sidecar.model.facts import Role, RoleGraph, Session, User
from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Redis
from sidecar.sync.keyspace import Head, Keyspace, StoreFact, encode_fact
from sidecar.sync.redis_cache import Filling, Look, Outcome, RedisCache, Told, open_client
from tests.servers import Proxy

SHARD = shard_of("acme")
AT_1 = ShardState(SHARD, 0, 1)
AT_2 = ShardState(SHARD, 0, 2)
ALICE = UserNeed("acme", "alice")
OLD = User(version=5, tenant="acme", subject="alice")
NEW = User(version=6, tenant="acme", subject="alice")


def news(seq: int, kind: ChangeKind = ChangeKind.USER, subject: str = "alice") -> Change:
    return Change(SHARD, seq, kind, "acme", subject, seq, b"\x07" * 32)


@pytest.fixture
async def cache(l2: RedisCache) -> RedisCache:
    """A second level whose shard is at sequence 5 in epoch 1."""
    assert await l2.establish(ShardState(SHARD, 5, 1))
    return l2


async def head(cache: RedisCache) -> Head:
    found = (await cache.look(ALICE)).head
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("need", "fact"),
    [
        (ALICE, OLD),
        (
            SessionNeed(b"\x07" * 32, SHARD),
            Session(version=0, id="one", tenant="acme", subject="alice", expires_at=1.5),
        ),
        (
            RolesNeed("acme"),
            RoleGraph(version=3, tenant="acme", roles=tuple(Role(f"role{n}") for n in range(500))),
        ),
    ],
)
async def test_what_was_filled_is_found(
    cache: RedisCache, need: StoreNeed, fact: StoreFact
) -> None:
    miss = await cache.look(need)
    assert miss == Look(None, Head(5, 1, 5))
    assert miss.head is not None
    assert await cache.fill(need, fact, miss.head) is Filling.DONE
    assert await cache.look(need) == Look(fact, Head(5, 1, 5))


async def test_an_entry_ends_by_itself(
    cache: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    await cache.fill(ALICE, OLD, await head(cache))
    assert 0 < await redis_client.ttl(cache.keys.value(ALICE)) <= 60


async def test_order_miss_fill_invalidate(cache: RedisCache) -> None:
    seen = await head(cache)
    assert await cache.fill(ALICE, OLD, seen) is Filling.DONE
    assert await cache.invalidate(AT_1, [news(6)]) == Told(Outcome.DONE, 6, 1)
    assert await cache.look(ALICE) == Look(None, Head(6, 1, 5))


async def test_order_miss_invalidate_fill(cache: RedisCache) -> None:
    seen = await head(cache)
    await cache.invalidate(AT_1, [news(6)])
    assert await cache.fill(ALICE, OLD, seen) is Filling.HEAD
    assert (await cache.look(ALICE)).fact is None


async def test_order_invalidate_miss_fill(cache: RedisCache) -> None:
    await cache.invalidate(AT_1, [news(6)])
    assert await cache.fill(ALICE, NEW, await head(cache)) is Filling.DONE
    assert (await cache.look(ALICE)).fact == NEW


async def test_order_miss_invalidate_of_another_fill(cache: RedisCache) -> None:
    """R4 costs refused fills in busy shards; that is its price."""
    seen = await head(cache)
    await cache.invalidate(AT_1, [news(6, subject="bob")])
    assert await cache.fill(ALICE, OLD, seen) is Filling.HEAD


async def test_order_miss_new_epoch_fill(cache: RedisCache) -> None:
    seen = await head(cache)
    await cache.establish(ShardState(SHARD, 5, 2))
    assert await cache.fill(ALICE, OLD, seen) is Filling.EPOCH


async def test_order_miss_flush_fill(cache: RedisCache, redis_client: redis.asyncio.Redis) -> None:
    seen = await head(cache)
    await redis_client.delete(cache.keys.head(SHARD))
    assert await cache.fill(ALICE, OLD, seen) is Filling.SUSPECT
    assert await cache.look(ALICE) == Look(None, None)


async def test_what_an_earlier_epoch_left_is_a_miss(cache: RedisCache) -> None:
    await cache.fill(ALICE, OLD, await head(cache))
    await cache.establish(ShardState(SHARD, 5, 2))
    assert await cache.look(ALICE) == Look(None, Head(5, 2, 5))


@pytest.mark.parametrize("kind", [ChangeKind.TENANT, ChangeKind.FLUSH])
async def test_a_change_of_everything_makes_the_whole_shard_a_miss(
    cache: RedisCache, kind: ChangeKind
) -> None:
    await cache.fill(ALICE, OLD, await head(cache))
    await cache.invalidate(AT_1, [news(6, kind)])
    assert await cache.look(ALICE) == Look(None, Head(6, 1, 6))


async def test_each_kind_deletes_what_it_names(cache: RedisCache) -> None:
    seen = await head(cache)
    session = SessionNeed(b"\x07" * 32, SHARD)
    await cache.fill(ALICE, OLD, seen)
    await cache.fill(RolesNeed("acme"), RoleGraph(version=1, tenant="acme"), seen)
    await cache.fill(
        session, Session(version=0, id="i", tenant="acme", subject="alice", expires_at=1), seen
    )
    steps: list[tuple[ChangeKind, StoreNeed]] = [
        (ChangeKind.SESSION, session),
        (ChangeKind.ROLES, RolesNeed("acme")),
        (ChangeKind.USER, ALICE),
    ]
    for seq, (kind, gone) in enumerate(steps, 6):
        assert (await cache.look(gone)).fact is not None
        await cache.invalidate(AT_1, [news(seq, kind)])
        assert (await cache.look(gone)).fact is None


async def test_only_contiguous_changes_are_accepted(cache: RedisCache) -> None:
    assert await cache.invalidate(AT_1, [news(7)]) == Told(Outcome.GAP, 5, 1)
    assert await cache.invalidate(AT_1, [news(6), news(8)]) == Told(Outcome.GAP, 6, 1)
    assert (await head(cache)).seq == 6


async def test_what_is_known_is_skipped(
    cache: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    await cache.invalidate(AT_1, [news(6)])
    await cache.fill(ALICE, NEW, await head(cache))
    assert await cache.invalidate(AT_1, [news(5), news(6)]) == Told(Outcome.DONE, 6, 1)
    assert (await cache.look(ALICE)).fact == NEW
    assert await cache.invalidate(AT_1, [news(6), news(7)]) == Told(Outcome.DONE, 7, 1)
    log: Any = await redis_client.xrange(cache.keys.log(SHARD))
    assert [entry[0] for entry in log] == [b"6-0", b"7-0"]


async def test_another_epoch_is_refused(cache: RedisCache) -> None:
    assert await cache.invalidate(AT_2, [news(6)]) == Told(Outcome.EPOCH, 5, 1)
    assert (await head(cache)).seq == 5


async def test_an_unknown_shard_is_suspect(l2: RedisCache) -> None:
    assert await l2.invalidate(AT_1, [news(1)]) == Told(Outcome.SUSPECT, 0, 0)
    assert await l2.look(ALICE) == Look(None, None)
    assert await l2.heads() == dict.fromkeys(range(16))


async def test_establishing_never_goes_back(cache: RedisCache) -> None:
    await cache.establish(ShardState(SHARD, 9, 3))
    assert not await cache.establish(ShardState(SHARD, 12, 2))
    assert not await cache.establish(ShardState(SHARD, 9, 3))
    assert not await cache.establish(ShardState(SHARD, 8, 3))
    assert await head(cache) == Head(9, 3, 9)
    # A later epoch may begin lower: PostgreSQL was restored.
    assert await cache.establish(ShardState(SHARD, 4, 4))
    assert (await cache.heads())[SHARD] == Head(4, 4, 4)


async def test_sequences_beyond_a_lua_number_in_short_stay_exact(cache: RedisCache) -> None:
    large = 2**52
    await cache.establish(ShardState(SHARD, large, 2))
    assert await cache.invalidate(AT_2, [news(large + 1)]) == Told(Outcome.DONE, large + 1, 2)
    assert (await head(cache)).seq == large + 1


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x00",
        b"\x02x",
        b"\x01not zstd",
        b"\x00" + b"\xc1",
        # Frame header that announces 4 GiB.
        b"\x01\x28\xb5\x2f\xfd\xa0\x00\x00\x00\xff" + b"x" * 20,
    ],
)
async def test_broken_values_are_misses(
    cache: RedisCache, redis_client: redis.asyncio.Redis, blob: bytes
) -> None:
    await redis_client.set(cache.keys.value(ALICE), blob)
    assert (await cache.look(ALICE)).fact is None


async def test_the_value_of_another_key_is_a_miss(
    cache: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    other = encode_fact(cache.keys.value(UserNeed("acme", "bob")), OLD, await head(cache))
    assert other is not None
    await redis_client.set(cache.keys.value(ALICE), other)
    assert (await cache.look(ALICE)).fact is None


async def test_a_value_from_the_future_is_a_miss(
    cache: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    blob = encode_fact(cache.keys.value(ALICE), OLD, Head(6, 1))
    assert blob is not None
    await redis_client.set(cache.keys.value(ALICE), blob)
    assert (await cache.look(ALICE)).fact is None


async def test_scripts_come_back_after_the_server_forgot_them(
    cache: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    await redis_client.script_flush()
    assert (await cache.look(ALICE)).head == Head(5, 1, 5)


async def test_what_is_too_large_is_not_kept(
    cache: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.sync.keyspace.LARGEST_BYTES", 10)
    assert await cache.fill(ALICE, OLD, await head(cache)) is Filling.SIZE


async def test_nobody_there_is_an_error_at_once() -> None:
    client = open_client(Redis(url="redis://127.0.0.1:1/0"))
    with pytest.raises(redis.asyncio.RedisError):
        await RedisCache(client, "x", 60).look(ALICE)
    await client.aclose()


async def test_a_redis_that_hangs_is_an_error_within_the_bound(redis_settings: Redis) -> None:
    port = int(redis_settings.url.rpartition(":")[2].partition("/")[0])
    with Proxy(port) as proxy:
        url = redis_settings.url.replace(f":{port}/", f":{proxy.port}/")
        client = open_client(Redis(url=url))
        cache = RedisCache(client, redis_settings.prefix, 60, command_seconds=0.2)
        assert await cache.look(ALICE) == Look(None, None)
        proxy.freeze()
        async with asyncio.timeout(5):
            for call in (
                cache.look(ALICE),
                cache.fill(ALICE, OLD, Head(1, 1)),
                cache.invalidate(AT_1, [news(1)]),
                cache.establish(ShardState(SHARD, 1, 1)),
                cache.heads(),
            ):
                with pytest.raises(redis.asyncio.RedisError):
                    await call
        proxy.mend()
        # Answers that come too late belong to nobody.
        assert len(await cache.heads()) == 16
        await client.aclose()


def test_keys_are_unambiguous_and_in_one_slot() -> None:
    keys = Keyspace("sc")
    assert keys.value(UserNeed("a:b", "c")) != keys.value(UserNeed("a", "b:c"))
    assert keys.value(UserNeed("a", "\ud800")).startswith(b"sc:{a")
    assert keys.head(3) == "sc:{a03}:head"
    assert len(set(keys.channels)) == 16


async def test_a_late_relay_does_not_bring_back_an_old_life(l2: RedisCache) -> None:
    """It looked, chose an epoch, was paused; meanwhile another did, and all was flushed."""
    seen = await l2.life(SHARD)
    assert await l2.establish(ShardState(SHARD, 5, 3))
    direct = (await l2._client.node(SHARD)).client
    await direct.delete(l2.keys.head(SHARD))
    assert not await l2.establish(ShardState(SHARD, 0, 2), seen)
    assert (await l2.heads())[SHARD] is None
    assert await l2.establish(ShardState(SHARD, 6, 4), await l2.life(SHARD))


async def test_another_life_of_the_database_is_not_told_apart_by_numbers(
    cache: RedisCache,
) -> None:
    """A restore gives epochs and sequences a second time (R12)."""
    restored = ShardState(SHARD, 6, 1, "another life")
    assert (await cache.invalidate(restored, [news(6)])).outcome is Outcome.SUSPECT
