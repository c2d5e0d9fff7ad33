"""Two sidecars on one Redis: what one changes, the other forgets; and when the news is cut."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from sidecar.cache.memory import Memory
from sidecar.clock import instant
from sidecar.model.change import Change, ChangeKind, Level
from sidecar.model.decision import Denial
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import RoleGraph, Session, Status, User, VerifiedToken
from sidecar.model.need import ABSENT, RolesNeed, SessionNeed, TokenNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache, Features, Postgres, Redis
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.roles import Roles
from sidecar.store.sessions import SessionRows
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from sidecar.sync import redis_cache as redis_cache_module
from sidecar.sync.bus import Bus
from sidecar.sync.follower import Follower
from sidecar.sync.heart import Heart
from sidecar.sync.keyspace import Keyspace, encode_news
from sidecar.sync.poll import Poll
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.tiers import Tier, Tiers
from sidecar.sync.warming import Warmer
from tests.servers import Proxy

SHARD = shard_of("acme")
ALICE = UserNeed("acme", "alice")
CACHE = Cache(heartbeat_seconds=0.05)
DIGEST = b"\x01" * 32


def no_jitter() -> float:
    return 0.0


async def no_token(need: TokenNeed) -> VerifiedToken | Denial:
    raise AssertionError(need)


class Sidecar:
    """Memory, tiers and bus, as the assembly puts them together."""

    def __init__(
        self, pool: Pool, settings: Redis | None, cache: Cache = CACHE, load_seconds: float = 2.0
    ) -> None:
        self.memory = Memory(cache, jitter=no_jitter)
        self.prefix = settings.prefix if settings else ""
        self.client = open_client(settings) if settings else None
        l2 = RedisCache(self.client, settings.prefix, 60) if self.client and settings else None
        self.tiers = Tiers(
            self.memory,
            FactStore(pool),
            redis=l2,
            verify=no_token,
            features=Features(),
            load_seconds=load_seconds,
            instant=instant,
        )
        self.follower = Follower(self.memory, self.tiers, cache.lease_seconds)
        self.bus: Bus | None = None
        self.news: Heart | Poll
        self.l2 = l2
        if settings is None or l2 is None:
            self.news = Poll(Outbox(pool), cache, self.follower, instant=instant)
            return
        self.news = Heart(
            l2, Outbox(pool), cache, self.follower, member=secrets.token_hex(16), instant=instant
        )
        assert self.client is not None
        self.bus = Bus(
            self.client,
            cache,
            self.follower,
            resubscribed=self.news.want,
            instant=instant,
            jitter=no_jitter,
        )

    async def load(self, need: SessionNeed | UserNeed | RolesNeed) -> object:
        return (await self.tiers.load(need, instant())).fact

    async def tier(self, need: SessionNeed | UserNeed | RolesNeed) -> Tier:
        return (await self.tiers.load(need, instant())).tier

    def remembers(self, need: SessionNeed | UserNeed | RolesNeed) -> bool:
        return self.memory.find(need, instant()) is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Sidecar"]:
        tasks = self.start()
        try:
            async with asyncio.timeout(10):
                await self.news.following.wait()
                if self.bus is not None:
                    await self.bus.following.wait()
                await self.news.following.wait()
            yield self
        finally:
            await stop(tasks)
            await self.tiers.close()
            if self.client is not None:
                await self.client.aclose()

    def warmer(self, cache: Cache = CACHE) -> Warmer:
        assert self.l2 is not None
        return Warmer(self.l2, self.memory, self.tiers, cache, instant=instant)

    def deaf(self) -> None:
        """Hears nothing on its channel from now on, and does not know."""
        assert self.bus is not None
        self.bus._follower = Follower(self.memory, self.tiers, 0.0)
        self.bus._follower.apply = lambda *_: None  # type: ignore[method-assign]  # deaf

    def start(self) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.news.run())]
        if self.bus is not None:
            tasks.append(asyncio.create_task(self.bus.run()))
        return tasks


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
async def publisher(l2: RedisCache, outbox: Outbox, acme: str) -> Publisher:
    assert acme
    ready = Publisher(l2, outbox)
    await ready.catch_up()
    return ready


@pytest.fixture
async def sidecar(
    pool: Pool, redis_settings: Redis, publisher: Publisher
) -> AsyncIterator[Sidecar]:
    assert publisher is not None
    async with Sidecar(pool, redis_settings).running() as one:
        yield one


async def test_memory_then_redis_then_postgres(
    pool: Pool, sidecar: Sidecar, redis_settings: Redis
) -> None:
    assert await sidecar.tier(ALICE) is Tier.POSTGRES
    assert await sidecar.tier(ALICE) is Tier.MEMORY
    assert sidecar.client is not None
    async with Sidecar(pool, redis_settings).running() as other:
        l2 = RedisCache(sidecar.client, redis_settings.prefix, 60)
        async with asyncio.timeout(10):
            while (await l2.look(ALICE)).fact is None:
                await asyncio.sleep(0.002)
        assert await other.tier(ALICE) is Tier.REDIS
        assert await other.tier(ALICE) is Tier.MEMORY
        assert other.tiers.counts[Tier.REDIS] == 1


Step = Callable[[Pool], Awaitable[tuple[object, ...]]]
SESSION = SessionNeed(DIGEST, SHARD)
ROLES = RolesNeed("acme")
CHANGES: list[tuple[str, SessionNeed | UserNeed | RolesNeed, Step]] = [
    ("disable", ALICE, lambda pool: Users(pool).set_status("acme", "alice", Status.DISABLED)),
    ("role", ROLES, lambda pool: Roles(pool).create("acme", "new")),
    ("tenant", ALICE, lambda pool: Tenants(pool).set_status("acme", Status.DISABLED)),
    ("its roles", ROLES, lambda pool: Tenants(pool).set_status("acme", Status.DISABLED)),
]


@pytest.mark.parametrize(
    ("need", "step"), [row[1:] for row in CHANGES], ids=[r[0] for r in CHANGES]
)
async def test_a_change_is_forgotten_elsewhere_at_once(
    pool: Pool,
    publisher: Publisher,
    sidecar: Sidecar,
    need: UserNeed | RolesNeed,
    step: Step,
) -> None:
    before = await sidecar.load(need)
    assert sidecar.remembers(need)
    changes = await step(pool)
    assert await publisher.publish(changes) is Level.PUBLISHED  # type: ignore[arg-type]  # Changes
    await until(lambda: not sidecar.remembers(need))
    after = await sidecar.load(need)
    assert isinstance(before, User | RoleGraph)
    assert isinstance(after, User | RoleGraph)
    assert after.version >= before.version
    assert sidecar.follower.resyncs["lost"] == 0


async def test_a_revoked_session_is_forgotten_elsewhere(
    pool: Pool, publisher: Publisher, sidecar: Sidecar
) -> None:
    await SessionRows(pool).create(DIGEST, "one", "acme", "alice", time.time() + 60)
    assert isinstance(await sidecar.load(SESSION), Session)
    revoked = await SessionRows(pool).revoke_all("acme", "alice")
    assert await publisher.publish(revoked.changes) is Level.PUBLISHED
    await until(lambda: not sidecar.remembers(SESSION))
    after = await sidecar.load(SESSION)
    assert isinstance(after, Session)
    assert after.revoked_at is not None


async def test_a_new_user_is_known_although_its_absence_was(
    pool: Pool, publisher: Publisher, sidecar: Sidecar
) -> None:
    bob = UserNeed("acme", "bob")
    assert await sidecar.load(bob) is ABSENT
    assert sidecar.remembers(bob)
    await publisher.publish(await Users(pool).create("acme", "bob"))
    await until(lambda: not sidecar.remembers(bob))
    assert isinstance(await sidecar.load(bob), User)


async def test_memory_survives_a_new_epoch_of_redis(
    publisher: Publisher, outbox: Outbox, l2: RedisCache, sidecar: Sidecar
) -> None:
    """A failover must not send the whole fleet to PostgreSQL; reads in flight are doomed."""
    assert publisher is not None
    await sidecar.load(ALICE)
    state = await outbox.state(SHARD)
    seen = await l2.life(SHARD)
    fresh = await outbox.renew(SHARD, state.epoch)
    assert await l2.establish(fresh, seen)
    await until(lambda: sidecar.follower.resyncs["new-epoch"] == 1)
    await until(lambda: sidecar.remembers(ALICE))
    assert sidecar.follower.resyncs["lost"] == 0


async def test_a_redis_that_was_flushed_is_suspect_until_the_relay_has_told_it(
    pool: Pool, publisher: Publisher, sidecar: Sidecar, redis_client: redis.asyncio.Redis
) -> None:
    await sidecar.load(ALICE)
    keys = Keyspace(sidecar.prefix)
    await redis_client.delete(*[keys.head(shard) for shard in range(16)])
    await until(lambda: not sidecar.remembers(ALICE))
    assert sidecar.follower.resyncs["suspect"] > 0
    await Users(pool).set_status("acme", "alice", Status.DISABLED)
    fact = await sidecar.load(ALICE)
    assert isinstance(fact, User)
    assert fact.status is Status.DISABLED
    await publisher.catch_up()
    await until(lambda: sidecar.follower.is_leased(instant()))
    await until(lambda: sidecar.remembers(ALICE) or bool(sidecar.tiers.counts))
    fact = await sidecar.load(ALICE)
    assert isinstance(fact, User)
    assert fact.status is Status.DISABLED


async def test_another_server_identity_is_suspect(
    l2: RedisCache, sidecar: Sidecar, redis_client: redis.asyncio.Redis
) -> None:
    """As after a restart or a failover: what it acknowledged may be lost (R1)."""
    key = Keyspace(sidecar.prefix).head(SHARD)
    await redis_client.hset(key, "identity", "another")
    assert (await l2.heads())[SHARD] is None
    assert (await l2.look(ALICE)).head is None
    await until(lambda: not sidecar.follower.is_leased(instant()))


async def test_a_new_life_of_the_database_flushes(
    pool: Pool, publisher: Publisher, sidecar: Sidecar
) -> None:
    """A restore gives sequences a second time (R12)."""
    await sidecar.load(ALICE)
    async with pool.connection() as connection:
        await connection.execute(b"UPDATE auth_shard SET incarnation = gen_random_uuid()")
    await publisher.catch_up()
    await until(lambda: sidecar.follower.resyncs["flush"] > 0)
    await until(lambda: sidecar.follower.is_leased(instant()))


async def test_lost_messages_are_replayed_from_the_log(
    pool: Pool, publisher: Publisher, sidecar: Sidecar
) -> None:
    """Nobody published to this sidecar; the heartbeat shows what is missing."""
    await sidecar.load(ALICE)
    sidecar.deaf()
    await publisher.publish(await Users(pool).set_status("acme", "alice", Status.DISABLED))
    await until(lambda: not sidecar.remembers(ALICE))
    await until(lambda: sidecar.follower.resyncs["replayed"] > 0)
    assert sidecar.follower.resyncs["lost"] == 0
    fact = await sidecar.load(ALICE)
    assert isinstance(fact, User)
    assert fact.status is Status.DISABLED
    await until(lambda: sidecar.follower.is_leased(instant()))


async def test_what_the_log_lost_is_replayed_from_the_outbox(
    pool: Pool, publisher: Publisher, sidecar: Sidecar, redis_client: redis.asyncio.Redis
) -> None:
    await sidecar.load(ALICE)
    sidecar.deaf()
    changes = await Users(pool).set_status("acme", "alice", Status.DISABLED)
    await publisher.publish(changes)
    # As a log that was full would be.
    await redis_client.delete(Keyspace(sidecar.prefix).log(SHARD))
    await until(lambda: not sidecar.remembers(ALICE))
    await until(lambda: sidecar.follower.is_leased(instant()))
    assert sidecar.follower.resyncs["lost"] == 0


async def test_what_nobody_has_any_more_is_made_up_for_by_forgetting_all(
    pool: Pool, publisher: Publisher, sidecar: Sidecar, redis_client: redis.asyncio.Redis
) -> None:
    sidecar.deaf()
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(b"UPDATE auth_user SET status = 'disabled'")
        await connection.execute(b"DELETE FROM auth_outbox")
    await publisher.catch_up()
    await redis_client.delete(Keyspace(sidecar.prefix).log(SHARD))
    await until(
        lambda: sidecar.follower.resyncs["lost"] + sidecar.follower.resyncs["new-epoch"] > 0
    )
    await until(lambda: sidecar.follower.is_leased(instant()))
    fact = await sidecar.load(ALICE)
    assert isinstance(fact, User)
    assert fact.status is Status.DISABLED


async def test_heartbeats_confirm_what_was_applied(
    pool: Pool, publisher: Publisher, l2: RedisCache, sidecar: Sidecar
) -> None:
    changes = await Users(pool).set_status("acme", "alice", Status.DISABLED)
    await publisher.publish(changes)
    async with asyncio.timeout(10):
        while True:
            head, _, members = await l2.members(SHARD)
            if members and members[0].watermark >= changes[-1].seq:
                break
            await asyncio.sleep(0.002)
    assert head is not None
    assert len(members) == 1
    assert members[0].epoch == head.epoch
    assert 0 <= members[0].age < 5
    assert sidecar.follower.watermark(SHARD) == changes[-1].seq


async def test_what_is_no_news_is_ignored(
    sidecar: Sidecar, redis_client: redis.asyncio.Redis, redis_settings: Redis
) -> None:
    await sidecar.load(ALICE)
    channel = Keyspace(redis_settings.prefix).channels[SHARD]
    applied = sidecar.follower.applied
    await redis_client.publish(channel, b"\xc1 no news")
    await redis_client.publish(channel, encode_news(Change(3, 1, ChangeKind.USER, "x"), 1))
    await until(lambda: sidecar.follower.applied == applied + 1)
    assert sidecar.remembers(ALICE)


async def test_a_killed_connection_is_replaced_and_ends_the_lease(
    sidecar: Sidecar, redis_client: redis.asyncio.Redis
) -> None:
    bus = sidecar.bus
    assert bus is not None
    await sidecar.load(ALICE)
    assert sidecar.remembers(ALICE)
    count = bus.subscriptions
    for each in await redis_client.client_list(_type="pubsub"):
        await redis_client.client_kill_filter(_id=each["id"])
    await until(lambda: bus.subscriptions > count)
    assert sidecar.follower.resyncs["resubscribed"] >= 2
    # The heartbeat finds that nothing was missed: what is remembered may be used again.
    await until(lambda: sidecar.remembers(ALICE))


async def test_what_was_missed_while_cut_off_is_not_believed(
    pool: Pool, publisher: Publisher, redis_settings: Redis
) -> None:
    port = int(redis_settings.url.rpartition(":")[2].partition("/")[0])
    with Proxy(port) as proxy:
        cut = Redis(
            url=redis_settings.url.replace(f":{port}/", f":{proxy.port}/"),
            prefix=redis_settings.prefix,
        )
        async with Sidecar(pool, cut).running() as sidecar:
            await sidecar.load(ALICE)
            proxy.cut()
            changes = await Users(pool).set_status("acme", "alice", Status.DISABLED)
            await publisher.publish(changes)
            # Nobody told it; but the lease runs out, and PostgreSQL answers.
            await until(lambda: not sidecar.remembers(ALICE))
            fact = await sidecar.load(ALICE)
            assert isinstance(fact, User)
            assert fact.status is Status.DISABLED
            proxy.mend()
            await until(lambda: sidecar.follower.watermark(SHARD) == changes[-1].seq)
            await until(lambda: sidecar.follower.is_leased(instant()))
            fact = await sidecar.load(ALICE)
            assert isinstance(fact, User)
            assert fact.status is Status.DISABLED
            await until(lambda: sidecar.remembers(ALICE))


async def test_a_half_open_connection_ends_the_lease_and_is_given_up(
    pool: Pool, publisher: Publisher, redis_settings: Redis
) -> None:
    assert publisher is not None
    port = int(redis_settings.url.rpartition(":")[2].partition("/")[0])
    with Proxy(port) as proxy:
        frozen = Redis(
            url=redis_settings.url.replace(f":{port}/", f":{proxy.port}/"),
            prefix=redis_settings.prefix,
        )
        cache = Cache(heartbeat_seconds=0.05, lease_seconds=0.3)
        async with Sidecar(pool, frozen, cache).running() as sidecar:
            bus = sidecar.bus
            assert bus is not None
            await sidecar.load(ALICE)
            count = bus.subscriptions
            proxy.freeze()
            await until(lambda: not sidecar.remembers(ALICE))
            await until(lambda: not bus.following.is_set())
            assert isinstance(await sidecar.load(ALICE), User)
            proxy.mend()
            await until(lambda: bus.subscriptions > count and bus.following.is_set())


async def test_without_redis_postgres_answers(pool: Pool, acme: str) -> None:
    nowhere = Redis(url="redis://127.0.0.1:1/0")
    sidecar = Sidecar(pool, nowhere)
    tasks = sidecar.start()
    assert await sidecar.tier(ALICE) is Tier.POSTGRES
    assert await sidecar.tier(ALICE) is Tier.POSTGRES
    assert not sidecar.news.following.is_set()
    await stop(tasks)
    assert sidecar.client is not None
    await sidecar.client.aclose()
    assert acme


@pytest.mark.parametrize("how", ["refused", "frozen"])
async def test_both_down_is_unavailable_in_time(
    database: str, redis_settings: Redis, how: str
) -> None:
    with Proxy(1) as proxy:
        port = 1
        if how == "frozen":
            proxy.freeze()
            port = proxy.port
        dsn = f"host=127.0.0.1 port={port} user=x"
        redis_down = Redis(url=f"redis://127.0.0.1:{port}/0", prefix=redis_settings.prefix)
        async with Pool(Postgres(dsn=dsn)) as pool:
            sidecar = Sidecar(pool, redis_down, load_seconds=0.1)
            # As if the news had just ended.
            sidecar.memory.lease_all(instant() + 1.0)
            loop = asyncio.get_running_loop()
            before = loop.time()
            outcomes = await asyncio.gather(
                *(sidecar.load(ALICE) for _ in range(5)), return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [StoresUnavailable] * 5
            # The bound is 0.1 s; a database that does not answer is given 1 s by the pool.
            assert loop.time() - before < 0.9
            assert not sidecar.remembers(ALICE)
            await sidecar.tiers.close()
            assert sidecar.client is not None
            await sidecar.client.aclose()
    assert database


async def test_without_any_redis_the_outbox_is_polled(pool: Pool, acme: str) -> None:
    async with Sidecar(pool, None).running() as sidecar:
        assert await sidecar.tier(ALICE) is Tier.POSTGRES
        assert await sidecar.tier(ALICE) is Tier.MEMORY
        await Users(pool).set_status(acme, "alice", Status.DISABLED)
        await until(lambda: not sidecar.remembers(ALICE))
        fact = await sidecar.load(ALICE)
        assert isinstance(fact, User)
        assert fact.status is Status.DISABLED
        # A gap in the outbox: all is forgotten.
        await sidecar.load(RolesNeed(acme))
        assert sidecar.remembers(RolesNeed(acme))
        async with pool.connection() as connection, connection.transaction():
            await connection.execute(b"UPDATE auth_user SET status = 'active'")
            await connection.execute(b"DELETE FROM auth_outbox")
        await until(lambda: not sidecar.remembers(RolesNeed(acme)))


async def test_a_database_that_is_away_ends_the_lease_of_polling() -> None:
    async with Pool(Postgres(dsn="host=127.0.0.1 port=1", pool_wait_seconds=0.05)) as pool:
        sidecar = Sidecar(pool, None)
        tasks = sidecar.start()
        with pytest.raises(StoresUnavailable):
            await sidecar.load(ALICE)
        assert sidecar.memory.lease_until == 0
        assert not sidecar.news.following.is_set()
        await stop(tasks)


async def test_a_start_begins_with_what_siblings_use(
    pool: Pool, redis_settings: Redis, sidecar: Sidecar
) -> None:
    await SessionRows(pool).create(DIGEST, "one", "acme", "alice", time.time() + 60)
    needs = (SESSION, ALICE, ROLES)
    for _ in range(4):
        for need in needs:
            await sidecar.load(need)
    await sidecar.load(UserNeed("acme", "once"))
    await sidecar.warmer().report()
    async with Sidecar(pool, redis_settings).running() as fresh:
        assert not any(fresh.remembers(need) for need in needs)
        warmer = fresh.warmer()
        await warmer.warm()
        assert warmer.warmed == 3
        assert all(fresh.remembers(need) for need in needs)
        assert fresh.tiers.counts[Tier.MEMORY] == 0


async def test_favourites_fade_and_are_bounded(l2: RedisCache) -> None:
    old, new = b"old", b"new"
    for _ in range(3):
        await l2.note_used({SHARD: [old]})
    assert await l2.most_used(SHARD, 5) == [old]
    for _ in range(20):
        await l2.note_used({SHARD: [new]})
    assert await l2.most_used(SHARD, 5) == [new, old]
    assert await l2.most_used(SHARD, 1) == [new]
    await l2.note_used({SHARD: [b"%d" % number for number in range(10_100)]})
    assert len(await l2.most_used(SHARD, 20_000)) == 10_000


async def test_yesterdays_favourites_do_not_crowd_out_todays(
    l2: RedisCache, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A use counts half after a while: here at once, so that any number of older ones is less."""
    monkeypatch.setattr(redis_cache_module, "_HALF_LIFE_SECONDS", 1e-9)
    for _ in range(5):
        await l2.note_used({SHARD: [b"old"]})
    await l2.note_used({SHARD: [b"new"]})
    assert await l2.most_used(SHARD, 5) == [b"new", b"old"]
    # One that an earlier release counted in another way is no trouble.
    monkeypatch.undo()
    await redis_client.delete(l2.keys.used(SHARD))
    await redis_client.zadd(l2.keys.used(SHARD), {"older": 7.5})
    await l2.note_used({SHARD: [b"older"]})
    await l2.note_used({SHARD: [b"new", b"new"]})
    assert await l2.most_used(SHARD, 5) == [b"new", b"older"]


async def test_without_redis_there_is_nothing_to_warm_from(pool: Pool) -> None:
    nowhere = Sidecar(pool, Redis(url="redis://127.0.0.1:1/0"))
    warmer = nowhere.warmer()
    await warmer.warm()
    assert warmer.warmed == 0
    assert nowhere.client is not None
    await nowhere.client.aclose()


async def test_warming_is_bounded_in_time(sidecar: Sidecar) -> None:
    for _ in range(4):
        await sidecar.load(ALICE)
    await sidecar.warmer().report()
    slow = sidecar.warmer(Cache(warm_seconds=0.05))

    async def for_ever(*_: object) -> object:
        await asyncio.Event().wait()
        raise AssertionError

    # Stores that hang.
    slow._tiers.load = for_ever  # type: ignore[method-assign,assignment]
    slow._tiers.load_many = for_ever  # type: ignore[method-assign,assignment]
    await slow.warm()
    assert slow.warmed == 0
