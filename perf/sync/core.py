"""Sidecars without listeners, on real stores: memory, tiers, news and heartbeat, as assembled.

The relay is left out: it would announce a change while we measure how long announcing it takes.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sidecar.cache.memory import Memory
from sidecar.clock import instant
from sidecar.embedded import EmbeddedStack
from sidecar.model.change import Change, Level
from sidecar.model.decision import Denial
from sidecar.model.facts import Effect, Rule, VerifiedToken
from sidecar.model.need import SessionNeed, TokenNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache, Features, Postgres, Redis
from sidecar.store.facts import FactStore
from sidecar.store.migrate import migrate
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.roles import Roles
from sidecar.store.sessions import SessionRows
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from sidecar.sync.bus import Bus
from sidecar.sync.follower import Follower
from sidecar.sync.heart import Heart
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.redis_client import RedisClient
from sidecar.sync.tiers import Tiers

TENANT = "acme"
USER = "ann"
SHARD = shard_of(TENANT)
CACHE = Cache()
# A benchmark waits longer than a request may: what takes long shall show, not fail.
LOAD_SECONDS = 5.0


def chance() -> float:
    """No jitter: runs shall be alike."""
    return 0.5


async def no_tokens(need: TokenNeed) -> VerifiedToken | Denial:
    raise AssertionError(need)


class Core:
    """One sidecar; use `running`."""

    def __init__(self, pool: Pool, client: RedisClient, l2: RedisCache, features: Features) -> None:
        self.memory = Memory(CACHE, jitter=chance)
        self.tiers = Tiers(
            self.memory,
            FactStore(pool),
            redis=l2,
            verify=no_tokens,
            features=features,
            load_seconds=LOAD_SECONDS,
            instant=instant,
        )
        follower = Follower(self.memory, self.tiers, CACHE.lease_seconds)
        member = secrets.token_hex(16)
        self._heart = Heart(l2, Outbox(pool), CACHE, follower, member=member, instant=instant)
        self._bus = Bus(
            client,
            CACHE,
            follower,
            resubscribed=self._heart.want,
            instant=instant,
            jitter=chance,
        )
        follower.on_applied = self._applied
        self._next: asyncio.Future[float] | None = None

    def next_applied(self) -> asyncio.Future[float]:
        """When (`time.perf_counter`) the next change was applied to memory."""
        self._next = asyncio.get_running_loop().create_future()
        return self._next

    def _applied(self, shard: int) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(time.perf_counter())
        self._heart.want(shard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Core"]:
        tasks = [asyncio.create_task(self._heart.run()), asyncio.create_task(self._bus.run())]
        try:
            async with asyncio.timeout(10):
                await self._bus.following.wait()
                await self._heart.following.wait()
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.tiers.close()


class Bench:
    """Stores with one tenant and one user, and what issues and revokes sessions in them."""

    def __init__(self, pool: Pool, client: RedisClient, l2: RedisCache) -> None:
        self.outbox = Outbox(pool)
        self.publisher = Publisher(l2, self.outbox)
        self.settings, self.l2 = client.settings, l2
        self._client = client
        self._pool = pool
        self._rows = SessionRows(pool)

    def core(self, features: Features | None = None) -> Core:
        return Core(self._pool, self._client, self.l2, features or Features())

    async def issue(self) -> tuple[str, SessionNeed]:
        """A new session: its public id and its need."""
        identifier, digest = secrets.token_hex(8), secrets.token_bytes(32)
        await self._rows.create(digest, identifier, TENANT, USER, time.time() + 3600)
        return identifier, SessionNeed(digest, SHARD)

    async def revoke(self, identifier: str) -> tuple[Change, ...]:
        """Committed, not published."""
        return (await self._rows.revoke(TENANT, identifier)).changes

    async def publish(self, changes: tuple[Change, ...]) -> None:
        level = await self.publisher.publish(changes)
        assert level is Level.PUBLISHED, level


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """PostgreSQL and Valkey of our own, durable, in a folder that goes with them."""
    with tempfile.TemporaryDirectory(prefix="perf-sync-", ignore_cleanup_errors=True) as name:
        # As root, PostgreSQL runs as somebody else, who has to enter.
        Path(name).chmod(0o711)  # noqa: ASYNC240  # before anything is measured
        async with EmbeddedStack(Path(name)) as stack:
            await migrate(stack.database_url)
            settings = Redis(url=stack.redis_url, prefix="perf")
            client = open_client(settings)
            try:
                async with Pool(Postgres(dsn=stack.database_url)) as pool:
                    await _seed(pool)
                    ready = Bench(pool, client, RedisCache(client, settings.prefix, 600.0, 5.0))
                    await ready.publisher.catch_up()
                    yield ready
            finally:
                await client.aclose()


async def _seed(pool: Pool) -> None:
    await Tenants(pool).create(TENANT, "Acme")
    roles, users = Roles(pool), Users(pool)
    await roles.create(TENANT, "reader")
    await roles.add_rule(TENANT, "reader", Rule(Effect.ALLOW, "things:read"))
    await users.create(TENANT, USER, "Ann")
    await users.assign(TENANT, USER, "reader")
