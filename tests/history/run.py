"""One run: sidecars, clients, administrators, the relay and the nemesis, and what they recorded."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import redis.asyncio
from redis.exceptions import RedisError

from sidecar.clock import instant
from sidecar.embedded.valkey import EmbeddedValkey
from sidecar.model.change import Change, Level
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import Status, User
from sidecar.model.need import UserNeed
from sidecar.settings.schema import Postgres, Redis
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from sidecar.sync.acknowledge import Acknowledger
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.redis_client import RedisClient
from tests.history.checker import (
    Answered,
    Asked,
    Begun,
    Checker,
    Disturbed,
    Event,
    Reached,
    Unanswered,
    Violation,
)
from tests.history.core import CACHE, Core, Mode, sidecar
from tests.history.nemesis import Nemesis

_SIDECARS: Final = 3
_CLIENTS_EACH: Final = 4
_TENANTS: Final = ("acme", "globex", "initech")
_SUBJECTS: Final = ("alice", "bob")
# Several at once make compound faults.
_NEMESES: Final = 3
# How long an administrator waits for `applied`: a few leases, then it goes on without.
_PATIENCE_SECONDS: Final = 1.0
_SUSPENDED_SECONDS: Final = 3 * CACHE.lease_seconds


class _Suspended(RedisCache):
    """Of a relay that stands still between choosing an epoch and telling Redis (see `Run`)."""

    chance = random.Random(0)

    async def establish(self, *args: Any, **kwargs: Any) -> bool:
        await asyncio.sleep(self.chance.uniform(0.0, _SUSPENDED_SECONDS))
        return await super().establish(*args, **kwargs)


class Run:
    """Everything that happens under one seed.

    Args:
        suspended: whether a second relay stands still now and then.

    Attributes:
        history: what was recorded, in order.
        found: broken promises; the run ends with the first.
        counts: what happened how often.
    """

    def __init__(
        self, mode: Mode, seed: int, dsn: str, server: EmbeddedValkey, *, suspended: bool = False
    ) -> None:
        self.seed = seed
        self.history: list[Event] = []
        self.found: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self._mode = mode
        self._suspended = suspended
        self._chance = random.Random(seed)
        self._dsn = dsn
        self._server = server
        self._redis = Redis(url=server.url, prefix="history")
        self._checker = Checker(CACHE.lease_seconds)
        self._broken = asyncio.Event()
        self._requests = 0

    async def last(self, seconds: float) -> None:
        """Runs for `seconds`, or until a promise is broken."""
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(Pool(Postgres(dsn=self._dsn, pool_max=6)))
            client = await stack.enter_async_context(_client(self._redis))
            direct = (await client.node(0)).client
            await _populate(pool, client, self._redis.prefix)
            cores = [
                await stack.enter_async_context(sidecar(self._mode, self._redis, self._dsn))
                for _ in range(_SIDECARS)
            ]
            cache = RedisCache(client, self._redis.prefix, 60)
            works: list[Coroutine[Any, Any, None]] = [self._relay(pool, cache, self._fork())]
            if self._suspended:
                slow = _Suspended(client, self._redis.prefix, 60)
                works.append(self._relay(pool, slow, self._fork()))
            for number, core in enumerate(cores):
                works += [self._ask_on(number, core, self._fork()) for _ in range(_CLIENTS_EACH)]
            works += [
                self._administrate(pool, client, tenant, subject, self._fork())
                for tenant in _TENANTS
                for subject in _SUBJECTS
            ]
            nemeses = [self._nemesis(cores, direct) for _ in range(_NEMESES)]
            works += [each.run() for each in nemeses]
            await self._until_broken(works, seconds)
            for nemesis in nemeses:
                self.counts.update(nemesis.done)
            for core in cores:
                self.counts.update(core.follower.resyncs)
                self.counts["doomed"] += core.tiers.counts["doomed"]
                self.counts.update(core.ahead.counts)

    async def _until_broken(self, works: list[Coroutine[Any, Any, None]], seconds: float) -> None:
        tasks = [asyncio.create_task(work) for work in works]
        broken = asyncio.create_task(self._broken.wait())
        # None of them ends by itself; one that does has failed.
        await asyncio.wait([*tasks, broken], timeout=seconds, return_when="FIRST_COMPLETED")
        for task in (*tasks, broken):
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise ended or AssertionError("it ended")
        await asyncio.gather(broken, return_exceptions=True)

    def _fork(self) -> random.Random:
        """Chance of one's own: what others draw changes nothing."""
        return random.Random(self._chance.getrandbits(64))

    def _nemesis(self, cores: Sequence[Core], client: redis.asyncio.Redis) -> Nemesis:
        def tell(what: str) -> None:
            self._record(Disturbed(instant(), what))

        return Nemesis(self._fork(), cores, self._server, client, tell)

    def _record(self, event: Event) -> None:
        self.history.append(event)
        found = self._checker.see(event)
        if found:
            self.found += found
            self._broken.set()

    async def _ask_on(self, number: int, core: Core, chance: random.Random) -> None:
        """A client of one sidecar."""
        while True:
            await self._ask(number, core, chance.choice(_TENANTS), chance.choice(_SUBJECTS))
            await asyncio.sleep(chance.uniform(0.0, 0.004))

    async def _ask(self, number: int, core: Core, tenant: str, subject: str) -> None:
        self._requests += 1
        request = self._requests
        self._record(Asked(instant(), request, number, f"{tenant}/{subject}"))
        try:
            loaded = await core.tiers.load(UserNeed(tenant, subject), instant())
        except StoresUnavailable:
            self.counts["unavailable"] += 1
            self._record(Unanswered(instant(), request))
            return
        user = loaded.fact
        assert isinstance(user, User)
        self.counts[f"from {loaded.tier}"] += 1
        active = user.status is Status.ACTIVE
        self._record(Answered(instant(), request, active, user.version, loaded.tier))

    async def _administrate(
        self,
        pool: Pool,
        client: RedisClient,
        tenant: str,
        subject: str,
        chance: random.Random,
    ) -> None:
        """Disables and enables one user; nobody else does."""
        user = f"{tenant}/{subject}"
        cache = RedisCache(client, self._redis.prefix, 60)
        publisher = Publisher(cache, Outbox(pool))
        acknowledger = Acknowledger(cache, Outbox(pool), self._mode.bounds)
        while True:
            for status in (Status.DISABLED, Status.ACTIVE):
                active = status is Status.ACTIVE
                self._record(Begun(instant(), user, active))
                changes = await Users(pool).set_status(tenant, subject, status)
                self.counts["changes"] += 1
                # Some forget to announce it: that is what the relay is for.
                announced = chance.random() < 0.9
                if announced and await publisher.publish(changes) is Level.PUBLISHED:
                    self._reached(user, active, changes, applied=False)
                    if not active and chance.random() < 0.7:
                        await self._wait_for_applied(acknowledger, user, changes)
                # Long enough that some answers are due; sometimes longer than a lease.
                longest = chance.choice((0.02, 0.1, 2 * CACHE.lease_seconds))
                await asyncio.sleep(chance.uniform(0.0, longest))

    async def _wait_for_applied(
        self, acknowledger: Acknowledger, user: str, changes: tuple[Change, ...]
    ) -> None:
        found = await acknowledger.wait(changes, _PATIENCE_SECONDS)
        if found.level is Level.APPLIED:
            self._reached(user, False, changes, applied=True)
        else:
            self.counts["not applied in time"] += 1

    def _reached(
        self, user: str, active: bool, changes: tuple[Change, ...], *, applied: bool
    ) -> None:
        self.counts["applied" if applied else "published"] += 1
        self._record(Reached(instant(), user, active, changes[-1].version, applied))

    async def _relay(self, pool: Pool, cache: RedisCache, chance: random.Random) -> None:
        """As `sync.relay` does, but more often."""
        publisher = Publisher(cache, Outbox(pool))
        while True:
            try:
                self.counts["relayed"] += await publisher.catch_up()
            except (RedisError, OSError, StoresUnavailable):
                self.counts["relay failed"] += 1
            await asyncio.sleep(chance.uniform(0.01, 0.15))


@asynccontextmanager
async def _client(settings: Redis) -> AsyncIterator[RedisClient]:
    client = open_client(settings)
    try:
        yield client
    finally:
        await client.aclose()


async def _populate(pool: Pool, client: RedisClient, prefix: str) -> None:
    """Tenants and users, all active, and a Redis that knows of them and of nothing else."""
    known = await pool.fetch("SELECT 1 FROM auth_tenant LIMIT 1")
    for tenant in _TENANTS:
        if not known:
            await Tenants(pool).create(tenant, tenant)
        for subject in _SUBJECTS:
            if known:
                await Users(pool).set_status(tenant, subject, Status.ACTIVE)
            else:
                await Users(pool).create(tenant, subject)
    await (await client.node(0)).client.flushall()
    await Publisher(RedisCache(client, prefix, 60), Outbox(pool)).catch_up()
