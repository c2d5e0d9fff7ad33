"""One sidecar without its proxy, each of its connections through a TCP relay that can fail."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sidecar.cache.acknowledgement import Bounds
from sidecar.cache.following import Following
from sidecar.cache.memory import Memory
from sidecar.clock import instant, wall
from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedToken
from sidecar.model.need import Absent, StoreNeed, TokenNeed
from sidecar.settings.schema import Cache, Features, Postgres, Redis
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.sync.anticipation import Anticipation, Revalidating
from sidecar.sync.bus import Bus
from sidecar.sync.follower import Follower
from sidecar.sync.heart import Heart
from sidecar.sync.keyspace import News, StoreFact
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.tiers import Tiers
from tests.servers import Proxy

# Small, so that many leases fit in a run; a heartbeat and a half fit in one (settings allow two).
CACHE: Final = Cache(lease_seconds=0.3, heartbeat_seconds=0.05)
# Less than a lease, as the settings demand.
LOAD_SECONDS: Final = 0.25
COMMAND_SECONDS: Final = 0.1
CONNECT_SECONDS: Final = 0.2
# D is 0: a Redis that was flushed or restarted leaves no isolated old master, and each run is
# alone with its Redis.
BOUNDS: Final = Bounds(CACHE.lease_seconds, 0.0)


@dataclass(frozen=True)
class Mode:
    """What the machine is made of. All defaults: the product; anything else breaks a rule.

    Attributes:
        bounds: L and D of acknowledgements.
    """

    name: str = "unbroken"
    memory: type[Memory] = Memory
    tiers: type[Tiers] = Tiers
    following: type[Following] = Following
    redis: type[RedisCache] = RedisCache
    bounds: Bounds = BOUNDS


class Ear:
    """Between bus and follower: may lose the news, or hold it up. Nobody is told."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.deaf = False
        self._held: list[News] | None = None

    def apply(self, news: News, now: float) -> None:
        if self.deaf:
            return
        if self._held is None:
            self._follower.apply(news, now)
        else:
            self._held.append(news)

    def resubscribed(self, shards: Iterable[int] | None = None) -> None:
        self._follower.resubscribed(shards)

    def hold(self) -> None:
        """What comes is kept back."""
        self._held = []

    def release(self) -> None:
        """What was kept back is heard now."""
        held, self._held = self._held or [], None
        for news in held:
            self._follower.apply(news, instant())


class SlowFacts(FactStore):
    """PostgreSQL whose answers take a while on their way back.

    Attributes:
        delay: seconds, drawn anew for each answer.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.delay: Callable[[], float] | None = None

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        found = await super().read(need)
        if self.delay is not None:
            await asyncio.sleep(self.delay())
        return found

    async def read_many(self, needs: Sequence[StoreNeed]) -> list[StoreFact | Absent | Exception]:
        found = await super().read_many(needs)
        if self.delay is not None:
            await asyncio.sleep(self.delay())
        return found


class Core:
    """Memory, tiers, follower, heart and bus, as the assembly puts them together.

    Attributes:
        commands, news, postgres: the relays of its three kinds of connections.
    """

    def __init__(
        self, mode: Mode, redis: Redis, pool: Pool, relays: tuple[Proxy, Proxy, Proxy]
    ) -> None:
        self.commands, self.news, self.postgres = relays
        self.memory = mode.memory(CACHE, jitter=secrets.SystemRandom().random)
        self.client = open_client(through(redis, self.commands))
        self.facts = SlowFacts(pool)
        cache = mode.redis(self.client, redis.prefix, 60, COMMAND_SECONDS)
        self.tiers = mode.tiers(
            self.memory,
            self.facts,
            redis=cache,
            verify=no_token,
            features=Features(),
            load_seconds=LOAD_SECONDS,
            instant=instant,
        )
        lease = CACHE.lease_seconds
        # Loads ahead, too: what it brings must be as true as anything else.
        self.ahead = Anticipation(
            self.memory,
            self.tiers,
            CACHE,
            instant=instant,
            wall=wall,
            chance=secrets.SystemRandom().random,
        )
        self.tiers.foresees = self.ahead
        forgets = Revalidating(self.memory, self.ahead.changed, instant=instant)
        self.follower = Follower(forgets, self.tiers, lease)
        self.follower._shards = [mode.following(lease) for _ in self.follower._shards]
        self.ear = Ear(self.follower)
        self.heart = Heart(
            cache,
            Outbox(pool),
            CACHE,
            self.follower,
            member=secrets.token_hex(16),
            instant=instant,
        )
        self.bus = Bus(
            open_client(through(redis, self.news)),
            CACHE,
            cast("Follower", self.ear),
            resubscribed=self.heart.want,
            instant=instant,
            jitter=secrets.SystemRandom().random,
        )

    def mend(self) -> None:
        """All its connections are well again, and it hears."""
        for relay in (self.commands, self.news, self.postgres):
            relay.mend()
        self.facts.delay = None
        self.ear.deaf = False
        self.ear.release()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Core"]:
        """Runs it, and waits until it may use its memory."""
        tasks = [
            asyncio.create_task(work()) for work in (self.heart.run, self.bus.run, self.ahead.run)
        ]
        try:
            async with asyncio.timeout(10):
                await self.bus.following.wait()
                await self.heart.following.wait()
            yield self
        finally:
            self.mend()
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await self.tiers.close()
            await self.client.aclose()
        # Neither ends by itself.
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


@asynccontextmanager
async def sidecar(mode: Mode, redis: Redis, dsn: str) -> AsyncIterator[Core]:
    """A running core with relays and a pool of its own."""
    postgres_port = int(str(conninfo_to_dict(dsn)["port"]))
    with ExitStack() as stack:
        redis_port = port_of(redis)
        ports = (redis_port, redis_port, postgres_port)
        commands, news, postgres = (stack.enter_context(Proxy(port)) for port in ports)
        relayed = make_conninfo(dsn, host="127.0.0.1", port=postgres.port)
        async with (
            Pool(Postgres(dsn=relayed, pool_max=3, pool_wait_seconds=LOAD_SECONDS)) as pool,
            Core(mode, redis, pool, (commands, news, postgres)).running() as core,
        ):
            yield core


def port_of(settings: Redis) -> int:
    """The port in the address."""
    return int(settings.url.rpartition(":")[2].partition("/")[0])


def through(settings: Redis, relay: Proxy) -> Redis:
    """The same Redis by way of `relay`."""
    port = port_of(settings)
    return Redis(
        url=settings.url.replace(f":{port}/", f":{relay.port}/"),
        prefix=settings.prefix,
        command_seconds=COMMAND_SECONDS,
        connect_seconds=CONNECT_SECONDS,
        connections=4,
    )


async def no_token(need: TokenNeed) -> VerifiedToken | Denial:
    """There are no tokens here."""
    raise AssertionError(need)
