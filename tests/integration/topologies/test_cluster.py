"""A Cluster: shards on three masters, which may go away, come back, and hand shards over."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from sidecar.clock import instant
from sidecar.model.change import Level
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Redis
from sidecar.store.pool import Pool
from sidecar.sync.redis_cache import RedisCache, open_client
from tests.integration.topologies.cluster import Cluster, cluster_running, has_synced, slot_of
from tests.integration.topologies.sidecars import (
    CACHE,
    Administrator,
    Sidecar,
    held,
    refused,
    until,
)
from tests.servers import RedisNode

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_running() as running:
        yield running


@pytest.fixture
def settings(cluster: Cluster) -> Redis:
    cluster.agree()
    return cluster.settings(f"test{next(_numbers)}")


@pytest.fixture
async def sidecar(pool: Pool, settings: Redis) -> AsyncIterator[Sidecar]:
    async with Sidecar(pool, settings).running() as one:
        yield one


@pytest.fixture
def administrator(pool: Pool, sidecar: Sidecar) -> Administrator:
    return Administrator(pool, sidecar.publisher)


def shards_of(cluster: Cluster, node: RedisNode | None) -> set[int]:
    return {shard for shard, owner in enumerate(cluster.owners()) if owner is node}


def without_replica(cluster: Cluster) -> RedisNode:
    """A master that nobody copies."""
    for node in cluster.owners():
        assert node is not None
        if "connected_slaves': 0" in str(node.ask("INFO", "replication")):
            return node
    raise AssertionError("each master has a replica")


async def test_what_is_revoked_is_heard_from_each_master(
    pool: Pool, cluster: Cluster, settings: Redis, sidecar: Sidecar, administrator: Administrator
) -> None:
    """By sharded pub/sub, over one connection to each; nothing had to be replayed."""
    owners = cluster.owners()
    assert len(set(owners)) == 3
    async with Sidecar(pool, settings).running() as other:
        assert other.bus.subscriptions == 3
        for owner in set(owners):
            shard = owners.index(owner)
            issued = await administrator.issue(await administrator.tenant(shard))
            await held(sidecar, issued)
            await held(other, issued)
            assert owner is not None
            channel = sidecar.l2.keys.channels[shard]
            assert owner.ask("PUBSUB", "SHARDNUMSUB", channel) == [channel, 2]
            assert await administrator.revoke(issued) is Level.PUBLISHED
            await refused(sidecar, issued)
            await refused(other, issued)
        assert other.follower.resyncs["replayed"] == 0
        assert other.follower.resyncs["lost"] == 0
        assert other.tiers.counts["fill-failed"] == 0


async def test_a_node_that_is_away_costs_its_shards_only(
    cluster: Cluster, sidecar: Sidecar, administrator: Administrator
) -> None:
    victim = without_replica(cluster)
    dead = shards_of(cluster, victim)
    alive = set(range(SHARDS)) - dead
    issued = [
        await administrator.issue(await administrator.tenant(min(shards)))
        for shards in (dead, alive)
    ]
    for each in issued:
        await held(sidecar, each)
    epochs = {shard: sidecar.epoch(shard) for shard in range(SHARDS)}
    victim.kill()
    killed = instant()
    await until(lambda: not sidecar.leased() & dead)
    # The others' leases are renewed long after the last heartbeat before it.
    await until(
        lambda: (
            min(map(sidecar.lease_until, alive)) > killed + 4 * CACHE.lease_seconds
            and sidecar.leased() >= alive
        )
    )
    assert max(map(sidecar.lease_until, dead)) < killed + CACHE.lease_seconds
    assert not sidecar.heart.following.is_set()
    # A revocation over both: the one is told at once, the other is found in PostgreSQL.
    levels = [await administrator.revoke(each) for each in issued]
    assert levels == [Level.COMMITTED, Level.PUBLISHED]
    for each in issued:
        await refused(sidecar, each)
    await until(lambda: sidecar.publisher.away == dead)
    victim.start()
    victim.wait()
    await sidecar.until_following()
    assert all(sidecar.epoch(shard) > epochs[shard] for shard in dead), "it may have forgotten"
    assert all(sidecar.epoch(shard) == epochs[shard] for shard in alive)
    for each in issued:
        assert (await sidecar.load(each.need)).revoked_at is not None
    cluster.agree()


async def test_a_shard_that_moves_is_followed(
    cluster: Cluster, sidecar: Sidecar, administrator: Administrator
) -> None:
    source = without_replica(cluster)
    shard = min(shards_of(cluster, source))
    target = next(owner for owner in cluster.owners() if owner not in {source, None})
    assert target is not None
    issued = await administrator.issue(await administrator.tenant(shard))
    await held(sidecar, issued)
    epoch = sidecar.epoch(shard)
    move(cluster, source, target, slot_of(shard))
    await until(lambda: sidecar.epoch(shard) > epoch)
    await sidecar.until_following()
    channel = sidecar.l2.keys.channels[shard]
    assert target.ask("PUBSUB", "SHARDNUMSUB", channel) == [channel, 1]
    assert await administrator.revoke(issued) is Level.PUBLISHED
    await refused(sidecar, issued)
    move(cluster, target, source, slot_of(shard))


def move(cluster: Cluster, source: RedisNode, target: RedisNode, slot: int) -> None:
    """As `valkey-cli --cluster reshard` does."""
    source_id, target_id = source.ask("CLUSTER", "MYID"), target.ask("CLUSTER", "MYID")
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
        words = ("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", target.password)
        source.ask(*words, "KEYS", *keys)
    for node in (target, source):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    cluster.agree()


async def test_a_replica_that_takes_over_begins_a_new_epoch(
    cluster: Cluster, sidecar: Sidecar, administrator: Administrator
) -> None:
    """It lacks the scripts, and perhaps what its master acknowledged last."""
    owners = cluster.owners()
    [replica] = [node for node in cluster.nodes if node not in owners]
    master = next(
        node for node in owners if node and "online" in str(node.ask("INFO", "replication"))
    )
    shards = shards_of(cluster, master)
    issued = [await administrator.issue(await administrator.tenant(min(shards))) for _ in range(2)]
    for each in issued:
        await held(sidecar, each)
    assert await administrator.revoke(issued[0]) is Level.PUBLISHED
    epochs = {shard: sidecar.epoch(shard) for shard in range(SHARDS)}
    replica.ask("SCRIPT", "FLUSH")
    replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
    await until(lambda: all(sidecar.epoch(shard) > epochs[shard] for shard in shards))
    await sidecar.until_following()
    assert all(sidecar.epoch(s) == epochs[s] for s in set(range(SHARDS)) - shards)
    assert (await sidecar.load(issued[0].need)).revoked_at is not None
    assert await administrator.revoke(issued[1]) is Level.PUBLISHED
    await refused(sidecar, issued[1])
    cluster.agree()
    await until(lambda: has_synced(master))


async def test_each_master_is_asked_whether_it_may_lose_writes(
    cluster: Cluster, settings: Redis
) -> None:
    client = open_client(settings)
    l2 = RedisCache(client, settings.prefix, 60, command_seconds=10.0)
    careful = without_replica(cluster)
    its = shards_of(cluster, careful)
    careful.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        assert not await l2.may_lose_writes(its)
        assert await l2.may_lose_writes(set(range(SHARDS)) - its)
        assert await l2.may_lose_writes()
    finally:
        careful.ask("CONFIG", "SET", "min-replicas-to-write", 0)
        await client.aclose()
