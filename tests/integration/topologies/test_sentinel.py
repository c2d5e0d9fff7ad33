"""A master behind a sentinel: killed, or demoted while it goes on answering."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.exceptions import RedisError

from sidecar.cache.acknowledgement import Bounds
from sidecar.model.change import Level
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Redis
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.sync.acknowledge import Acknowledger
from sidecar.sync.redis_cache import RedisCache, open_client
from tests.integration.topologies.sentinel import SERVICE, Watched, watched_running
from tests.integration.topologies.sidecars import (
    CACHE,
    Administrator,
    Sidecar,
    held,
    refused,
    until,
)

_SHARD = 3


@pytest.fixture
def watched() -> Iterator[Watched]:
    with watched_running() as running:
        yield running


@pytest.fixture
def settings(watched: Watched) -> Redis:
    return watched.settings("test")


@pytest.fixture
async def sidecar(pool: Pool, settings: Redis) -> AsyncIterator[Sidecar]:
    async with Sidecar(pool, settings).running() as one:
        yield one


@pytest.fixture
def administrator(pool: Pool, sidecar: Sidecar) -> Administrator:
    return Administrator(pool, sidecar.publisher)


async def begins_anew(sidecar: Sidecar, epochs: dict[int, int]) -> None:
    """Until all shards are in an epoch after `epochs`, and followed."""
    await until(lambda: all(sidecar.epoch(shard) > epochs[shard] for shard in range(SHARDS)))
    await sidecar.until_following()


async def test_a_new_master_gets_a_new_epoch_and_revocations_hold(
    pool: Pool, watched: Watched, sidecar: Sidecar, administrator: Administrator
) -> None:
    tenant = await administrator.tenant(_SHARD)
    before, after = await administrator.issue(tenant), await administrator.issue(tenant)
    for issued in (before, after):
        await held(sidecar, issued)
    assert await administrator.revoke(before) is Level.PUBLISHED
    await refused(sidecar, before)
    epochs = {shard: sidecar.epoch(shard) for shard in range(SHARDS)}
    old = watched.master
    old.kill()
    await begins_anew(sidecar, epochs)
    assert watched.master is not old
    assert (await sidecar.load(before.need)).revoked_at is not None
    await held(sidecar, after)
    assert await administrator.revoke(after) is Level.PUBLISHED
    await refused(sidecar, after)
    # Memory survived it: what could be lost was replayed, not forgotten.
    assert sidecar.follower.resyncs["lost"] == 0
    acknowledger = Acknowledger(sidecar.l2, Outbox(pool), Bounds(CACHE.lease_seconds, 0.0))
    found = await acknowledger.wait(await administrator.change(tenant), seconds=20.0)
    assert found.level is Level.APPLIED, found


async def test_a_master_that_was_demoted_is_left(
    watched: Watched, sidecar: Sidecar, administrator: Administrator
) -> None:
    """It still answers, and even tells the news; but it is a replica now."""
    epochs = {shard: sidecar.epoch(shard) for shard in range(SHARDS)}
    issued = await administrator.issue(await administrator.tenant(_SHARD))
    await held(sidecar, issued)
    old = watched.master
    watched.sentinel.ask("SENTINEL", "FAILOVER", SERVICE)
    await until(lambda: watched.master is not old)
    await begins_anew(sidecar, epochs)
    channel = sidecar.l2.keys.channels[_SHARD]
    # The news of the new master, and of it alone.
    await until(lambda: watched.master.ask("PUBSUB", "NUMSUB", channel) == [channel, 1])
    await until(lambda: old.ask("PUBSUB", "NUMSUB", channel) == [channel, 0])
    assert await administrator.revoke(issued) is Level.PUBLISHED
    await refused(sidecar, issued)


async def test_writing_to_a_replica_is_an_error_that_leads_away_from_it(
    watched: Watched, settings: Redis
) -> None:
    replica = next(node for node in watched.nodes if node is not watched.master)
    client = open_client(settings)
    l2 = RedisCache(client, settings.prefix, 60, command_seconds=10.0)
    try:
        known = await client.node(0)
        assert known.name == watched.master.address
        # As if it had been the master until now.
        alone = Redis(url=f"redis://:{replica.password}@{replica.address}/0", prefix="test")
        wrong = await open_client(alone).node(0)
        direct, known.client = known.client, wrong.client
        with pytest.raises(RedisError, match=r"(?i)read.?only"):
            await l2.life(0)
        known.client = direct
        await wrong.client.aclose()
        assert (await l2.life(0)).epoch == ""
        # Without its quorum of replicas a master refuses as well, and may have been replaced.
        watched.master.ask("CONFIG", "SET", "min-replicas-to-write", 3)
        with pytest.raises(RedisError, match=r"NOREPLICAS|good replicas"):
            await l2.life(1)
    finally:
        await client.aclose()
