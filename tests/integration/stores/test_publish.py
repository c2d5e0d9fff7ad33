"""From the commit to Redis: publishing, catching up, the relay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio
from msgspec.structs import replace
from redis.exceptions import RedisError

from sidecar.model.change import Change, ChangeKind, Level, ShardState
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import Effect, Rule, Status
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Redis
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.roles import Roles
from sidecar.store.users import Users
from sidecar.sync.keyspace import Head
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import Outcome, RedisCache, Told, open_client
from sidecar.sync.relay import Relay

SHARD = shard_of("acme")


@pytest.fixture
def publisher(l2: RedisCache, outbox: Outbox) -> Publisher:
    return Publisher(l2, outbox)


async def head(cache: RedisCache) -> Head | None:
    return (await cache.heads())[SHARD]


async def in_step(cache: RedisCache, outbox: Outbox) -> bool:
    states = await outbox.states()
    return [(h.seq, h.epoch) if h else None for _, h in sorted((await cache.heads()).items())] == [
        (state.seq, state.epoch) for state in states
    ]


async def test_an_unknown_redis_is_given_a_new_epoch(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox
) -> None:
    changes = await Users(pool).create(acme, "bob")
    assert await publisher.publish(changes) is Level.COMMITTED
    state = await outbox.state(SHARD)
    assert await head(l2) == Head(state.seq, 1, state.seq, state.incarnation)
    assert state.seq == changes[-1].seq
    assert (await outbox.state(SHARD)).epoch == 1


async def test_catching_up_brings_all_shards_in_step(
    acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox
) -> None:
    assert await publisher.catch_up() == 16
    assert await in_step(l2, outbox)
    assert await publisher.catch_up() == 0
    assert acme


async def test_what_nobody_published_is_sent_first(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, redis_client: redis.asyncio.Redis
) -> None:
    await publisher.catch_up()
    before = await head(l2)
    assert before is not None
    await Users(pool).create(acme, "lost")
    changes = await Users(pool).create(acme, "bob")
    assert await publisher.publish(changes) is Level.PUBLISHED
    assert await head(l2) == replace(before, seq=before.seq + 2)
    assert await redis_client.xlen(l2.keys.log(SHARD)) == 2


async def test_many_changes_are_sent_in_pages(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    await publisher.catch_up()
    monkeypatch.setattr("sidecar.sync.publisher._PAGE", 2)
    for number in range(4):
        await Users(pool).create(acme, f"u{number}")
    changes = await Users(pool).create(acme, "last")
    assert await publisher.publish(changes) is Level.PUBLISHED
    assert await in_step(l2, outbox)


async def test_what_was_pruned_needs_a_new_epoch(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox
) -> None:
    await publisher.catch_up()
    changes = await Users(pool).create(acme, "lost")
    changes += await Users(pool).create(acme, "bob")
    async with pool.connection() as connection:
        await connection.execute(
            b"DELETE FROM auth_outbox WHERE shard = %s AND seq = %s", (SHARD, changes[0].seq)
        )
    assert await publisher.publish(changes[1:]) is Level.COMMITTED
    assert await in_step(l2, outbox)
    assert (await outbox.state(SHARD)).epoch == 2


async def test_another_epoch_is_learned(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox
) -> None:
    await publisher.catch_up()
    # Somebody else renewed it, and told Redis.
    await l2.establish(await outbox.renew(SHARD, 1))
    changes = await Users(pool).create(acme, "bob")
    assert await publisher.publish(changes) is Level.PUBLISHED
    assert await in_step(l2, outbox)
    assert (await outbox.state(SHARD)).epoch == 2


async def test_an_epoch_that_never_reached_redis_is_replaced(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox
) -> None:
    await publisher.catch_up()
    await outbox.renew(SHARD, 1)
    # Who knows the old epoch still agrees with Redis; nothing is lost by it.
    changes = await Users(pool).create(acme, "bob")
    assert await publisher.publish(changes) is Level.COMMITTED
    # Who asks for the epoch finds the two apart, and gives Redis a new one.
    fresh = Publisher(l2, outbox)
    assert await fresh.publish(await Users(pool).create(acme, "carol")) is Level.PUBLISHED
    assert await in_step(l2, outbox)
    assert await publisher.catch_up() == 0


async def test_a_flushed_redis_is_rebuilt(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox,
    redis_client: redis.asyncio.Redis,
) -> None:  # fmt: skip
    await publisher.catch_up()
    await redis_client.delete(l2.keys.head(SHARD), l2.keys.log(SHARD))
    changes = await Users(pool).create(acme, "bob")
    assert await publisher.publish(changes) is Level.COMMITTED
    assert await in_step(l2, outbox)


async def test_a_redis_ahead_of_the_truth_is_rebuilt(
    acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox
) -> None:
    """PostgreSQL was restored from a backup."""
    await publisher.catch_up()
    await l2.establish(ShardState(SHARD, 1000, 7))
    assert await publisher.catch_up() == 1
    assert await in_step(l2, outbox)
    assert (await outbox.state(SHARD)).epoch == 8
    assert acme


async def test_two_publishers_at_once_keep_the_order(
    pool: Pool, acme: str, l2: RedisCache, outbox: Outbox, redis_client: redis.asyncio.Redis
) -> None:
    await Publisher(l2, outbox).catch_up()
    before = await head(l2)
    assert before is not None

    async def change(number: int) -> Level:
        return await Publisher(l2, outbox).publish(await Users(pool).create(acme, f"u{number}"))

    assert set(await asyncio.gather(*map(change, range(12)))) == {Level.PUBLISHED}
    log: Any = await redis_client.xrange(l2.keys.log(SHARD))
    assert [entry[0] for entry in log] == [
        f"{seq}-0".encode() for seq in range(before.seq + 1, before.seq + 13)
    ]


async def test_a_redis_that_is_away_leaves_it_committed(pool: Pool, acme: str) -> None:
    client = open_client(Redis(url="redis://127.0.0.1:1/0"))
    publisher = Publisher(RedisCache(client, "x", 60), Outbox(pool))
    changes = await Users(pool).create(acme, "bob")
    assert await publisher.publish(changes) is Level.COMMITTED
    with pytest.raises(RedisError):
        await publisher.catch_up()
    await client.aclose()


async def test_without_redis_nothing_is_published(outbox: Outbox) -> None:
    publisher = Publisher(None, outbox)
    change = Change(SHARD, 1, ChangeKind.USER, "acme")
    assert await publisher.publish([change]) is Level.COMMITTED
    assert await publisher.catch_up() == 0


async def test_a_redis_that_never_settles_is_given_up(l2: RedisCache, outbox: Outbox) -> None:
    change = Change(SHARD, 2, ChangeKind.USER, "a")
    asked = 0

    async def forgets(*_: object) -> Told:
        nonlocal asked
        asked += 1
        return Told(Outcome.GAP, 1, 1)

    async def after(*_: object) -> tuple[Change, ...]:
        return (change,)

    l2.invalidate = forgets  # type: ignore[method-assign,assignment]  # a fault
    outbox.after = after  # type: ignore[method-assign,assignment]  # a fault
    assert await Publisher(l2, outbox).publish([change]) is Level.COMMITTED
    assert 1 < asked < 20


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_in_step(cache: RedisCache, outbox: Outbox) -> None:
    async with asyncio.timeout(10):
        while not await in_step(cache, outbox):
            await asyncio.sleep(0.005)


def no_jitter() -> float:
    return 0.0


async def test_the_relay_sends_what_plain_sql_changed(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox
) -> None:
    async with running(Relay(publisher, outbox, jitter=no_jitter)):
        await until_in_step(l2, outbox)
        async with pool.connection() as connection:
            await connection.execute(b"UPDATE auth_user SET status = 'disabled'")
        await until_in_step(l2, outbox)
        # And what was committed by somebody who could not publish it.
        await Roles(pool).add_rule(acme, "reader", Rule(Effect.DENY, "x"))
        await until_in_step(l2, outbox)
        assert (await outbox.state(SHARD)).epoch == 1


async def test_one_relay_leads_and_another_takes_over(
    acme: str, publisher: Publisher, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.sync.relay.CANDIDATE_SECONDS", 0.01)
    first = Relay(publisher, outbox, jitter=no_jitter)
    second = Relay(publisher, outbox, jitter=no_jitter)
    async with running(second):
        async with asyncio.timeout(10):
            await second.leading.wait()
        async with running(first), outbox.lead() as lead:
            assert lead is None
            assert not first.leading.is_set()
    async with running(first), asyncio.timeout(10):
        await first.leading.wait()
    assert acme


async def test_two_candidates_at_once_get_one_lead(outbox: Outbox) -> None:
    async with outbox.lead() as one, outbox.lead() as two:
        assert one is not None
        assert two is None


async def test_a_leader_that_stands_still_loses_the_role(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is stopped: the kernel keeps the connection, and nobody asks on it any more."""
    monkeypatch.setattr("sidecar.store.outbox._SILENT_SECONDS", 1)
    async with outbox.lead() as stopped:
        assert stopped is not None
        async with asyncio.timeout(10):
            while True:
                async with outbox.lead() as other:
                    if other is not None:
                        break
                await asyncio.sleep(0.05)
        for notice in (stopped.keep(), stopped.wait(1.0)):
            with pytest.raises(StoresUnavailable):
                await notice


async def test_the_server_notices_when_the_host_of_the_leader_is_gone(pool: Pool) -> None:
    async with Outbox(pool).lead() as lead:
        assert lead is not None
        cursor = await lead._connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp_keepalives%'"
            " OR name IN ('tcp_user_timeout', 'idle_session_timeout')"
        )
        settings: dict[str, str] = dict(await cursor.fetchall())
    assert settings == {
        "idle_session_timeout": "5000",
        "tcp_keepalives_count": "3",
        "tcp_keepalives_idle": "2",
        "tcp_keepalives_interval": "1",
        "tcp_user_timeout": "5000",
    }


async def test_who_lost_the_role_stops_after_the_page_under_way() -> None:
    class Busy:
        pages = 0
        away: frozenset[int] = frozenset()

        async def catch_up(self) -> int:
            self.pages += 1
            return 1000

    class Lost:
        async def wait(self, seconds: float) -> None:
            raise AssertionError(seconds)

        async def keep(self) -> None:
            raise StoresUnavailable("the connection was ended")

    class Once:
        asked = 0
        again = asyncio.Event()

        @asynccontextmanager
        async def lead(self) -> AsyncIterator[Lost | None]:
            self.asked += 1
            if self.asked > 1:
                self.again.set()
            yield Lost() if self.asked == 1 else None

        async def prune(self) -> None: ...

    busy, once = Busy(), Once()
    relay = Relay(busy, once, jitter=lambda: -0.499)  # type: ignore[arg-type]  # a fake
    async with running(relay), asyncio.timeout(10):
        await once.again.wait()
        assert not relay.leading.is_set()
    assert busy.pages == 1


async def test_the_relay_survives_the_loss_of_its_connection(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("sidecar.sync.relay.CANDIDATE_SECONDS", 0.01)
    relay = Relay(publisher, outbox, jitter=no_jitter)
    async with running(relay):
        await until_in_step(l2, outbox)
        await pool.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT 1'"
            " OR query LIKE 'LISTEN%%' AND pid <> pg_backend_pid()"
        )
        await Users(pool).set_status(acme, "alice", Status.DISABLED)
        await until_in_step(l2, outbox)


async def test_the_relay_survives_a_redis_that_is_away(outbox: Outbox) -> None:
    class Away:
        tries = 0
        away: frozenset[int] = frozenset()
        back = asyncio.Event()

        async def catch_up(self) -> int:
            self.tries += 1
            if self.tries == 1:
                raise RedisError("away")
            self.back.set()
            return 0

    class Eager:
        async def wait(self, seconds: float) -> None:
            assert seconds > 0
            await asyncio.sleep(0)

        async def keep(self) -> None: ...

    class Free:
        pruned = 0
        failed = False

        @asynccontextmanager
        async def lead(self) -> AsyncIterator[Eager | None]:
            if not self.failed:
                self.failed = True
                raise StoresUnavailable("first")
            yield Eager()

        async def prune(self) -> None:
            self.pruned += 1

    away, free = Away(), Free()
    relay = Relay(away, free, jitter=lambda: -0.499)  # type: ignore[arg-type]  # a fake
    async with running(relay), asyncio.timeout(10):
        await away.back.wait()
    assert free.pruned >= 1
    assert outbox is not None
