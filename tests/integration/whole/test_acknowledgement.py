"""Acknowledgement levels against running sidecars: what `applied` promises, and when it waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.assembly.explaining import open_decider
from sidecar.cache.acknowledgement import Bounds
from sidecar.cache.memory import Memory
from sidecar.clock import instant
from sidecar.embedded import EmbeddedStack
from sidecar.listen.server import SidecarServer
from sidecar.model.change import Change, Level
from sidecar.model.facts import Status
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache, Postgres, Redis
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from sidecar.sync.acknowledge import Acknowledger
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from tests.integration.whole.conftest import Start, settings

LEASE = Cache().lease_seconds
# These tests start their epochs themselves and know that no old master is about.
NO_ISOLATION = Bounds(LEASE, -LEASE)


class Administration:
    """What `sidecar admin` does."""

    def __init__(self, pool: Pool, redis: RedisCache) -> None:
        self.pool = pool
        self.redis = redis
        self.publisher = Publisher(redis, Outbox(pool))

    async def members(self, shard: int) -> list[str]:
        """Who is waited for."""
        _, _, confirmations = await self.redis.members(shard)
        return [each.member for each in confirmations]

    async def set_status(self, subject: str, status: Status) -> tuple[Change, ...]:
        changes = await Users(self.pool).set_status("demo", subject, status)
        assert await self.publisher.publish(changes) is Level.PUBLISHED
        return changes

    def acknowledger(self, bounds: Bounds = NO_ISOLATION) -> Acknowledger:
        return Acknowledger(self.redis, Outbox(self.pool), bounds)


@asynccontextmanager
async def administrating(database: str, redis: Redis) -> AsyncIterator[Administration]:
    client = open_client(redis)
    try:
        async with Pool(Postgres(dsn=database)) as pool:
            yield Administration(pool, RedisCache(client, redis.prefix, 60.0))
    finally:
        await client.aclose()


@pytest.fixture
def redis(database: str, stack: EmbeddedStack) -> Redis:
    stores = settings(database, stack.redis_url, "http://127.0.0.1:1").stores
    assert stores.redis is not None
    return stores.redis


async def test_after_applied_no_sidecar_authorizes(
    start: Start, database: str, redis: Redis
) -> None:
    """PROMISES 13, here without faults: not one request, not on any sidecar."""
    async with (
        start() as first,
        start() as second,
        start() as third,
        administrating(database, redis) as admin,
    ):
        sidecars = (first, second, third)
        for round_ in range(5):
            for whole in sidecars:
                assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 200
            changes = await admin.set_status("bob", Status.DISABLED)
            found = await admin.acknowledger().wait(changes, 5.0)
            assert found.level is Level.APPLIED, found
            assert len(found.confirmed) == 3
            assert found.seconds < LEASE, "by confirmation, not by waiting"
            answers = await asyncio.gather(
                *(whole.ask("bob", "GET", "/api/orders") for whole in sidecars for _ in range(5))
            )
            assert {status for status, _ in answers} == {401}, round_
            changes = await admin.set_status("bob", Status.ACTIVE)
            assert (await admin.acknowledger().wait(changes, 5.0)).level is Level.APPLIED


async def test_a_sidecar_that_hears_nothing_is_waited_for(
    start: Start, database: str, redis: Redis
) -> None:
    """Its silence cannot be told from its death; after a lease it does not matter."""
    dead = "d" * 32
    async with start(), administrating(database, redis) as admin:
        # It has died since; its last heartbeat is young.
        assert all((await admin.redis.beat(dead, dict.fromkeys(range(SHARDS), 0))).values())
        changes = await admin.set_status("bob", Status.DISABLED)
        found = await admin.acknowledger().wait(changes, 5.0)
        assert found.level is Level.APPLIED
        assert found.waiting_for == (dead,)
        assert found.seconds > LEASE


async def test_a_sidecar_that_ended_in_order_is_not(
    start: Start, database: str, redis: Redis
) -> None:
    async with start() as whole, administrating(database, redis) as admin:
        async with start() as other:
            for each in (whole, other):
                assert (await each.ask("bob", "GET", "/api/orders"))[0] == 200
            assert [len(await admin.members(shard)) for shard in range(SHARDS)] == [2] * SHARDS
        assert [len(await admin.members(shard)) for shard in range(SHARDS)] == [1] * SHARDS
        changes = await admin.set_status("bob", Status.DISABLED)
        found = await admin.acknowledger().wait(changes, 5.0)
        assert (found.level, len(found.confirmed), found.waiting_for) == (Level.APPLIED, 1, ())


async def test_who_explains_a_decision_leaves_as_well(
    start: Start, database: str, redis: Redis, stack: EmbeddedStack
) -> None:
    """It goes by Redis as a sidecar does, so it is one for as long as it takes."""
    async with start(), administrating(database, redis) as admin:
        [alone] = await admin.members(0)
        async with open_decider(settings(database, stack.redis_url, "http://127.0.0.1:1")):
            assert len(await admin.members(0)) == 2
        assert await admin.members(0) == [alone]


async def test_leases_end_before_redis_is_told(
    start: Start, database: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told `applied` after somebody signed off must not be wrong about it."""
    used: list[bool] = []
    servers: list[SidecarServer] = []
    resign, made = RedisCache.resign, SidecarServer.__init__

    async def watched(self: RedisCache, member: str) -> None:
        now = instant()
        used.append(
            any(memory.is_leased(shard, now) for memory in found for shard in range(SHARDS))
        )
        assert [server.open_connections for server in servers] == [0]
        await resign(self, member)

    def making(self: SidecarServer, **parts: Any) -> None:
        made(self, **parts)
        servers.append(self)

    found: list[Memory] = []
    begin = Memory.__init__

    def beginning(self: Memory, *parts: Any, **more: Any) -> None:
        begin(self, *parts, **more)
        found.append(self)

    monkeypatch.setattr(RedisCache, "resign", watched)
    monkeypatch.setattr(SidecarServer, "__init__", making)
    monkeypatch.setattr(Memory, "__init__", beginning)
    async with start() as whole, administrating(database, redis):
        assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 200
        assert all(found[0].is_leased(shard, instant()) for shard in range(SHARDS))
    assert used == [False]


async def test_a_young_epoch_is_not_enough(start: Start, database: str, redis: Redis) -> None:
    async with start(), administrating(database, redis) as admin:
        changes = await admin.set_status("bob", Status.DISABLED)
        found = await admin.acknowledger(Bounds(LEASE, 3600.0)).wait(changes, 0.3)
        assert found.level is Level.PUBLISHED
        assert "too young" in found.why


async def test_a_redis_that_forgot_is_not_believed(database: str, redis: Redis) -> None:
    async with administrating(database, redis) as admin:
        await Tenants(admin.pool).create("acme", "Acme")
        changes = await Users(admin.pool).create("acme", "bob")
        await admin.publisher.publish(changes)
        for shard in range(16):
            direct = (await admin.redis._client.node(shard)).client
            await direct.delete(admin.redis.keys.head(shard))
        found = await admin.acknowledger().wait(changes, 0.2)
        assert found.level is Level.PUBLISHED
        assert "vouch" in found.why


async def test_without_redis_nothing_is_applied(database: str) -> None:
    nowhere = Redis(url="redis://127.0.0.1:9/0")
    async with administrating(database, nowhere) as admin:
        found = await admin.acknowledger().wait([], 0.2)
        assert found.level is Level.COMMITTED
