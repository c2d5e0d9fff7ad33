"""PostgreSQL is restored from a backup under Redis and the relay: its data begin a new life."""

import pytest
import redis.asyncio

from sidecar.model.change import Level
from sidecar.model.shard import shard_of
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.users import Users
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache

SHARD = shard_of("acme")


@pytest.fixture
def publisher(l2: RedisCache, outbox: Outbox) -> Publisher:
    return Publisher(l2, outbox)


async def restore(pool: Pool, seq: int, epoch: int) -> None:
    """As from a dump or a snapshot of the volume: the incarnation is of the same backup."""
    async with pool.transaction() as connection:
        await connection.execute(b"SET LOCAL session_replication_role = replica")
        await connection.execute(b"DELETE FROM auth_outbox WHERE seq > %s", (seq,))
        await connection.execute(
            b"UPDATE auth_shard SET seq = %s, redis_epoch = %s WHERE shard = %s",
            (seq, epoch, SHARD),
        )


async def assert_is_another_life(before: str, l2: RedisCache, outbox: Outbox) -> None:
    states = await outbox.states()
    [incarnation] = {state.incarnation for state in states}
    assert incarnation != before
    heads = await l2.heads()
    assert {head and head.incarnation for head in heads.values()} == {incarnation}
    assert [head and (head.seq, head.epoch) for head in heads.values()] == [
        (state.seq, state.epoch) for state in states
    ]


@pytest.mark.parametrize(("lost", "epochs"), [(3, 0), (0, 1), (3, 1)])
async def test_the_relay_gives_restored_data_another_incarnation(
    lost: int, epochs: int, pool: Pool, acme: str, publisher: Publisher, l2: RedisCache,
    outbox: Outbox,
) -> None:  # fmt: skip
    for number in range(6):
        await Users(pool).create(acme, f"u{number}")
    await publisher.catch_up()
    before = await outbox.state(SHARD)
    await restore(pool, before.seq - lost, before.epoch - epochs)
    while await publisher.catch_up():
        pass
    await assert_is_another_life(before.incarnation, l2, outbox)


async def test_a_writer_is_not_told_published_by_what_redis_knew_before_the_restore(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox
) -> None:
    await publisher.catch_up()
    for number in range(6):
        await publisher.publish(await Users(pool).create(acme, f"u{number}"))
    before = await outbox.state(SHARD)
    await restore(pool, before.seq - 3, before.epoch)
    changes = await Users(pool).create(acme, "after")
    assert await publisher.publish(changes) is Level.COMMITTED
    while await publisher.catch_up():
        pass
    await assert_is_another_life(before.incarnation, l2, outbox)


async def test_a_life_ends_once(outbox: Outbox) -> None:
    before = (await outbox.state(SHARD)).incarnation
    await outbox.begin_life(before)
    after = (await outbox.state(SHARD)).incarnation
    await outbox.begin_life(before)
    assert before != after == (await outbox.state(SHARD)).incarnation


async def test_others_that_write_meanwhile_are_no_restore(
    pool: Pool, acme: str, publisher: Publisher, outbox: Outbox
) -> None:
    await publisher.catch_up()
    before = await outbox.state(SHARD)
    first = await Users(pool).create(acme, "first")
    await publisher.publish(await Users(pool).create(acme, "second"))
    # Redis knows more than the first writer, and all of it is committed.
    assert await publisher.publish(first) is Level.PUBLISHED
    after = await outbox.state(SHARD)
    assert (after.incarnation, after.epoch) == (before.incarnation, before.epoch)


async def test_no_epoch_is_given_twice_to_what_redis_still_holds(
    pool: Pool, acme: str, publisher: Publisher, l2: RedisCache, outbox: Outbox,
    redis_client: redis.asyncio.Redis,
) -> None:  # fmt: skip
    """PostgreSQL lost the last epoch with a failover, and Redis was restarted with its content."""
    await publisher.catch_up()
    await l2.establish(await outbox.renew(SHARD, 1))
    await restore(pool, (await outbox.state(SHARD)).seq, 1)
    await redis_client.hset(l2.keys.head(SHARD), "identity", "restarted")
    await publisher.catch_up()
    head = (await l2.heads())[SHARD]
    assert head is not None
    assert head.epoch == (await outbox.state(SHARD)).epoch == 3
    assert acme
