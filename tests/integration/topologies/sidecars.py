"""Sidecars without listeners on any topology of Redis, relay included, and an administrator."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from sidecar.cache.memory import Memory
from sidecar.clock import instant
from sidecar.model.change import Change, Level
from sidecar.model.decision import Denial
from sidecar.model.facts import Session, VerifiedToken
from sidecar.model.need import SessionNeed, TokenNeed
from sidecar.model.shard import SHARDS, shard_of
from sidecar.settings.schema import Cache, Features, Redis
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from sidecar.sync.bus import Bus
from sidecar.sync.follower import Follower
from sidecar.sync.heart import Heart
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.relay import Relay
from sidecar.sync.tiers import Tiers

CACHE: Final = Cache(heartbeat_seconds=0.1, lease_seconds=0.6)
# Servers that were killed have to be noticed, replaced and told everything; all in a busy machine.
_PATIENCE_SECONDS: Final = 30.0


def no_jitter() -> float:
    return 0.0


async def no_token(need: TokenNeed) -> VerifiedToken | Denial:
    raise AssertionError(need)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


class Sidecar:
    """Memory, tiers, news, heartbeat and relay, as the assembly puts them together."""

    def __init__(self, pool: Pool, settings: Redis) -> None:
        self.client = open_client(settings)
        self.l2 = RedisCache(self.client, settings.prefix, 60)
        self.memory = Memory(CACHE, jitter=no_jitter)
        self.tiers = Tiers(
            self.memory,
            FactStore(pool),
            redis=self.l2,
            verify=no_token,
            features=Features(),
            load_seconds=2.0,
            instant=instant,
        )
        outbox = Outbox(pool)
        self.follower = Follower(self.memory, self.tiers, CACHE.lease_seconds)
        self.heart = Heart(
            self.l2, outbox, CACHE, self.follower, member=secrets.token_hex(16), instant=instant
        )
        self.bus = Bus(
            self.client,
            CACHE,
            self.follower,
            resubscribed=self.heart.want,
            instant=instant,
            jitter=no_jitter,
        )
        self.publisher = Publisher(self.l2, outbox)
        self.relay = Relay(self.publisher, outbox, jitter=no_jitter)

    def lease_until(self, shard: int) -> float:
        return self.follower._shards[shard].lease_until

    def leased(self) -> set[int]:
        """The shards whose facts may be used now."""
        return {shard for shard in range(SHARDS) if self.lease_until(shard) > instant()}

    def epoch(self, shard: int) -> int:
        return self.follower._shards[shard].epoch or 0

    async def load(self, need: SessionNeed) -> Session:
        fact = (await self.tiers.load(need, instant())).fact
        assert isinstance(fact, Session)
        return fact

    def remembers(self, need: SessionNeed) -> bool:
        return self.memory.find(need, instant()) is not None

    async def until_following(self) -> None:
        """Until all of its memory may be used and it hears all news."""
        await until(lambda: len(self.leased()) == SHARDS and self.bus.following.is_set())

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Sidecar"]:
        works = (self.heart.run, self.bus.run, self.relay.run)
        tasks = [asyncio.create_task(work()) for work in works]
        try:
            await self.until_following()
            yield self
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await self.tiers.close()
            await self.client.aclose()
        # None ends by itself.
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


class Issued(NamedTuple):
    """A session of a tenant's only user."""

    tenant: str
    identifier: str
    need: SessionNeed


class Administrator:
    """Issues and revokes sessions of tenants on chosen shards."""

    def __init__(self, pool: Pool, publisher: Publisher) -> None:
        self._rows = SessionRows(pool)
        self._tenants = Tenants(pool)
        self._users = Users(pool)
        self._publisher = publisher

    async def tenant(self, shard: int) -> str:
        """A new tenant of `shard`."""
        while True:
            slug = f"t-{secrets.token_hex(4)}"
            if shard_of(slug) == shard:
                break
        await self._tenants.create(slug, slug)
        await self._users.create(slug, "alice")
        return slug

    async def issue(self, tenant: str) -> Issued:
        digest, identifier = secrets.token_bytes(32), secrets.token_hex(8)
        await self._rows.create(digest, identifier, tenant, "alice", time.time() + 600)
        return Issued(tenant, identifier, SessionNeed(digest, shard_of(tenant)))

    async def change(self, tenant: str) -> tuple[Change, ...]:
        """Another user, told to Redis."""
        changes = await self._users.create(tenant, secrets.token_hex(4))
        assert await self._publisher.publish(changes) is Level.PUBLISHED
        return changes

    async def revoke(self, issued: Issued) -> Level:
        """Commits and tells Redis."""
        revoked = await self._rows.revoke(issued.tenant, issued.identifier)
        return await self._publisher.publish(revoked.changes)


async def held(sidecar: Sidecar, issued: Issued) -> None:
    """Until the sidecar has the session in memory."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not sidecar.remembers(issued.need):
            assert (await sidecar.load(issued.need)).revoked_at is None
            await asyncio.sleep(0.005)


async def refused(sidecar: Sidecar, issued: Issued) -> None:
    """Until the sidecar has forgotten the session; from then on it is revoked there."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while sidecar.remembers(issued.need):
            found = sidecar.memory.find(issued.need, instant())
            if isinstance(found, Session) and found.revoked_at is not None:
                break
            await asyncio.sleep(0.002)
    assert (await sidecar.load(issued.need)).revoked_at is not None
