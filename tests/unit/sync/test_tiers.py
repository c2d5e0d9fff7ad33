"""Loading with everything scripted: sharing, dooming, failing, giving up."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.exceptions import RedisError

from sidecar.cache.memory import Memory
from sidecar.model.decision import Denial
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import User, VerifiedToken
from sidecar.model.need import (
    ABSENT,
    Absent,
    RolesNeed,
    SessionNeed,
    StoreNeed,
    TokenNeed,
    UserNeed,
)
from sidecar.model.reason import Reason
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache, Features
from sidecar.sync import levels as levels_module
from sidecar.sync import tiers as tiers_module
from sidecar.sync.keyspace import Head, StoreFact
from sidecar.sync.redis_cache import Filling, Look, RedisCache
from sidecar.sync.tiers import Loaded, Tier, Tiers

ALICE = UserNeed("acme", "alice")
TOKEN = TokenNeed(b"k" * 16, "a.b.c")
VERIFIED = VerifiedToken(issuer="i", key_id="k", tenant="acme", subject="alice", expires_at=9e9)


def user(version: int) -> User:
    return User(version=version, tenant="acme", subject="alice")


class Primary:
    """A PostgreSQL whose answers the test gives one by one."""

    def __init__(self) -> None:
        self.reads: list[asyncio.Future[StoreFact | Absent]] = []
        self.arrived = asyncio.Event()
        self.batches: list[list[StoreNeed]] = []

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        assert need
        answer: asyncio.Future[StoreFact | Absent] = asyncio.get_running_loop().create_future()
        self.reads.append(answer)
        self.arrived.set()
        return await answer

    async def read_many(self, needs: Sequence[StoreNeed]) -> list[StoreFact | Absent | Exception]:
        """Each is answered by its own; the answer comes when all are there."""
        self.batches.append(list(needs))
        return list(await asyncio.gather(*map(self.read, needs)))

    async def asked(self, times: int) -> None:
        while len(self.reads) < times:
            self.arrived.clear()
            await self.arrived.wait()


class Shelf(RedisCache):
    """A Redis in a dict, which may be away."""

    def __init__(self) -> None:
        self.facts: dict[StoreNeed, StoreFact] = {}
        self.away = False
        self.filled = asyncio.Event()

    async def look(self, need: StoreNeed) -> Look:
        if self.away:
            raise RedisError("away")
        return Look(self.facts.get(need), Head(1, 1))

    async def look_many(self, needs: Sequence[StoreNeed]) -> list[Look]:
        return [await self.look(need) for need in needs]

    async def fill(self, need: StoreNeed, fact: StoreFact, head: Head) -> Filling:
        self.filled.set()
        if self.away:
            raise RedisError("away")
        self.facts[need] = fact
        return Filling.DONE if head == Head(1, 1) else Filling.HEAD

    async def fill_many(
        self, fills: Sequence[tuple[StoreNeed, StoreFact, Head]]
    ) -> list[Filling | None]:
        return [await self.fill(*fill) for fill in fills]


class World:
    """Tiers with their surroundings."""

    def __init__(
        self, *, features: Features | None = None, redis: Shelf | None = None, bound: float = 30.0
    ) -> None:
        self.now = 1000.0
        self.memory = Memory(Cache(), jitter=lambda: 0.5)
        self.memory.lease_all(self.now + 1)
        self.primary = Primary()
        self.verdict: VerifiedToken | Denial = VERIFIED
        self.tiers = Tiers(
            self.memory,
            self.primary,
            redis=redis,
            verify=self.verify,
            features=features or Features(),
            load_seconds=bound,
            instant=lambda: self.now,
        )

    async def verify(self, need: TokenNeed) -> VerifiedToken | Denial:
        assert need is TOKEN
        return self.verdict

    def load(self, need: UserNeed | TokenNeed = ALICE) -> asyncio.Task[Loaded]:
        return asyncio.create_task(self.tiers.load(need, self.now))

    def remembered(self) -> object:
        return self.memory.find(ALICE, self.now)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    one = World()
    yield one
    await one.tiers.close()


async def settled() -> None:
    """Lets everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_many_share_one_read_and_memory_keeps_it(world: World) -> None:
    waiting = [world.load() for _ in range(5)]
    await world.primary.asked(1)
    await settled()
    world.primary.reads[0].set_result(user(1))
    assert await asyncio.gather(*waiting) == [Loaded(user(1), Tier.POSTGRES)] * 5
    assert await world.load() == Loaded(user(1), Tier.MEMORY)
    assert len(world.primary.reads) == 1
    assert world.tiers.counts == {"postgres": 5, "memory": 1, "doomed": 0, "failed": 0}


async def test_absence_is_kept_as_well(world: World) -> None:
    waiting = world.load()
    await world.primary.asked(1)
    world.primary.reads[0].set_result(ABSENT)
    assert (await waiting).fact is ABSENT
    assert (await world.load()).tier is Tier.MEMORY


async def test_a_doomed_read_serves_only_those_who_waited_and_is_not_kept(world: World) -> None:
    before = world.load()
    await world.primary.asked(1)
    world.tiers.doom(ALICE)
    after = world.load()
    await world.primary.asked(2)
    world.primary.reads[0].set_result(user(1))
    assert (await before).fact == user(1)
    assert world.remembered() is None
    assert not after.done()
    world.primary.reads[1].set_result(user(2))
    assert (await after).fact == user(2)
    assert world.remembered() == user(2)
    assert world.tiers.counts["doomed"] == 1


async def test_a_doomed_read_that_lands_last_is_not_kept(world: World) -> None:
    before = world.load()
    await world.primary.asked(1)
    world.tiers.doom_all()
    after = world.load()
    await world.primary.asked(2)
    world.primary.reads[1].set_result(user(2))
    await after
    world.primary.reads[0].set_result(user(1))
    await before
    assert world.remembered() == user(2)


@pytest.mark.parametrize(
    ("need", "doomed"),
    [
        (ALICE, True),
        (UserNeed("other", "alice"), False),
        (RolesNeed("acme"), True),
        (SessionNeed(b"x", 1), True),
    ],
)
async def test_a_tenants_change_dooms_what_may_be_its(
    world: World,
    need: UserNeed | RolesNeed | SessionNeed,
    doomed: bool,
) -> None:
    waiting = asyncio.create_task(world.tiers.load(need, world.now))
    await world.primary.asked(1)
    world.tiers.doom_tenant("acme")
    world.primary.reads[0].set_result(user(1))
    await waiting
    assert world.tiers.counts["doomed"] == doomed


async def test_without_a_lease_nobody_joins_a_read_that_started(world: World) -> None:
    world.memory.lease_all(0)
    first = world.load()
    await world.primary.asked(1)
    others = [world.load(), world.load()]
    await settled()
    assert len(world.primary.reads) == 1
    world.primary.reads[0].set_result(user(1))
    assert (await first).fact == user(1)
    await world.primary.asked(2)
    world.primary.reads[1].set_result(user(2))
    assert [loaded.fact for loaded in await asyncio.gather(*others)] == [user(2)] * 2


async def test_dooming_starts_the_read_that_waited(world: World) -> None:
    world.memory.lease_all(0)
    first = world.load()
    await world.primary.asked(1)
    second = world.load()
    await settled()
    world.tiers.doom(ALICE)
    await world.primary.asked(2)
    world.primary.reads[1].set_result(user(2))
    assert (await second).fact == user(2)
    world.primary.reads[0].set_result(user(1))
    assert (await first).fact == user(1)


async def test_an_error_reaches_all_who_wait_and_is_not_kept(world: World) -> None:
    waiting = [world.load(), world.load()]
    await world.primary.asked(1)
    await settled()
    world.primary.reads[0].set_exception(StoresUnavailable("down"))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["down", "down"]
    again = world.load()
    await world.primary.asked(2)
    world.primary.reads[1].set_result(user(1))
    assert (await again).fact == user(1)


async def test_a_bug_reaches_those_who_wait(world: World) -> None:
    waiting = world.load()
    await world.primary.asked(1)
    world.primary.reads[0].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await waiting


async def test_who_gives_up_cancels_nobody_else(world: World) -> None:
    impatient, patient = world.load(), world.load()
    await world.primary.asked(1)
    await settled()
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    world.primary.reads[0].set_result(user(1))
    assert (await patient).fact == user(1)


async def test_a_read_outlives_the_last_who_waited(world: World) -> None:
    waiting = world.load()
    await world.primary.asked(1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    world.primary.reads[0].set_result(user(1))
    await settled()
    assert world.remembered() == user(1)


@pytest.mark.parametrize("share", [True, False])
async def test_the_bound_holds_and_what_comes_later_is_void(share: bool) -> None:
    world = World(bound=0.01, features=Features(single_flight=share))
    with pytest.raises(StoresUnavailable, match="in time"):
        await world.load()
    await settled()
    assert world.primary.reads[0].cancelled()
    assert world.remembered() is None
    assert len(world.tiers._flights) == 0
    await world.tiers.close()


async def test_a_read_that_ignores_its_cancellation_is_void(world: World) -> None:
    waiting = world.load()
    await world.primary.asked(1)
    [journey] = world.tiers._aloft
    journey.fail(StoresUnavailable("the stores did not answer in time"))
    with pytest.raises(StoresUnavailable, match="in time"):
        await waiting
    # Nothing dooms it any more: its answer may be older than news that came meanwhile.
    world.primary.reads[0].set_result(user(1))
    await settled()
    assert world.remembered() is None


async def test_closing_ends_the_reads(world: World) -> None:
    waiting = world.load()
    await world.primary.asked(1)
    await world.tiers.close()
    with pytest.raises(StoresUnavailable, match="given up"):
        await waiting


async def test_alone_everybody_reads(world: World) -> None:
    world = World(features=Features(single_flight=False))
    waiting = [world.load(), world.load()]
    await world.primary.asked(2)
    world.tiers.doom(ALICE)
    for read in world.primary.reads:
        read.set_result(user(1))
    assert [loaded.fact for loaded in await asyncio.gather(*waiting)] == [user(1)] * 2
    assert world.remembered() is None


async def test_redis_is_asked_first_and_filled_after() -> None:
    shelf = Shelf()
    world = World(redis=shelf)
    waiting = world.load()
    await world.primary.asked(1)
    world.primary.reads[0].set_result(user(1))
    assert (await waiting).tier is Tier.POSTGRES
    await shelf.filled.wait()
    world.memory.flush()
    assert await world.load() == Loaded(user(1), Tier.REDIS)
    assert await world.load() == Loaded(user(1), Tier.MEMORY)


async def test_a_doomed_read_fills_nothing() -> None:
    shelf = Shelf()
    world = World(redis=shelf)
    waiting = world.load()
    await world.primary.asked(1)
    world.tiers.doom(ALICE)
    world.primary.reads[0].set_result(user(1))
    await waiting
    await settled()
    assert not shelf.filled.is_set()


async def test_absence_fills_nothing() -> None:
    shelf = Shelf()
    world = World(redis=shelf)
    waiting = world.load()
    await world.primary.asked(1)
    world.primary.reads[0].set_result(ABSENT)
    await waiting
    await settled()
    assert not shelf.filled.is_set()


@pytest.mark.parametrize("without", ["lease", "feature", "redis"])
async def test_redis_is_not_trusted(without: str) -> None:
    shelf = Shelf()
    shelf.facts[ALICE] = user(1)
    world = World(redis=shelf, features=Features(redis_cache=without != "feature"))
    if without == "lease":
        world.memory.lease_all(world.now)
    shelf.away = without == "redis"
    waiting = world.load()
    await world.primary.asked(1)
    world.primary.reads[0].set_result(user(2))
    assert await waiting == Loaded(user(2), Tier.POSTGRES)


async def test_redis_is_not_trusted_when_the_lease_ended_before_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(levels_module, "_SHARD_AT_ONCE", 1)
    shelf = Shelf()
    shelf.facts[ALICE] = user(1)
    world = World(redis=shelf)
    gate: asyncio.Future[Look] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(shelf, "look", lambda _: gate)
    first = world.load(UserNeed("acme", "bob"))
    await settled()
    waiting = world.load()
    await settled()
    world.memory.lease_all(world.now)
    gate.set_result(Look(user(1), Head(1, 1)))
    assert (await first).tier is Tier.REDIS
    await settled()
    assert len(world.primary.reads) == 1
    world.primary.reads[0].set_result(user(2))
    assert await waiting == Loaded(user(2), Tier.POSTGRES)


async def test_those_who_come_beyond_what_can_be_read_are_refused_at_once(world: World) -> None:
    world.tiers._most = 1
    first = world.load()
    await settled()
    with pytest.raises(StoresUnavailable, match="too many"):
        await world.load(UserNeed("acme", "bob"))
    world.primary.reads[0].set_result(user(1))
    assert (await first).fact == user(1)


async def test_an_error_of_one_in_a_batch_is_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = [UserNeed("acme", name) for name in ("a", "b")]

    async def read_many(asked: Sequence[StoreNeed]) -> list[StoreFact | Absent | Exception]:
        assert asked == needs
        return [user(1), StoresUnavailable("this one")]

    monkeypatch.setattr(world.primary, "read_many", read_many)
    one, other = await asyncio.gather(*map(world.load, needs), return_exceptions=True)
    assert one == Loaded(user(1), Tier.POSTGRES)
    assert str(other) == "this one"


async def test_a_fill_that_fails_is_only_counted() -> None:
    shelf = Shelf()
    world = World(redis=shelf)
    waiting = world.load()
    await world.primary.asked(1)
    shelf.away = True
    world.primary.reads[0].set_result(user(1))
    assert (await waiting).fact == user(1)
    await shelf.filled.wait()
    await settled()
    assert world.tiers.counts["fill-failed"] == 1


async def test_tokens_are_verified_and_kept_without_a_lease(world: World) -> None:
    world.memory.lease_all(0)
    assert await world.load(TOKEN) == Loaded(VERIFIED, Tier.VERIFIER)
    assert await world.load(TOKEN) == Loaded(VERIFIED, Tier.MEMORY)


async def test_a_fault_is_no_verdict_on_a_token(world: World) -> None:
    world.verdict = Denial(Reason.KEYS_UNAVAILABLE)
    assert (await world.load(TOKEN)).tier is Tier.VERIFIER
    assert (await world.load(TOKEN)).tier is Tier.VERIFIER


async def test_what_is_in_use_is_read_anew_before_it_expires(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers_module, "_FRESH_SECONDS", 0.001)
    world.memory.put(ALICE, user(1), world.now)
    task = asyncio.create_task(world.tiers.keep_fresh())
    world.now += 49
    world.memory.lease_all(world.now + 1)
    assert world.remembered() == user(1)
    await world.primary.asked(1)
    world.primary.reads[0].set_result(user(2))
    async with asyncio.timeout(5):
        while world.remembered() != user(2):
            await asyncio.sleep(0)
    assert world.tiers.counts["refreshed"] == 1
    task.cancel()


async def test_a_refresh_that_fails_leaves_the_fact_to_expire(world: World) -> None:
    world.memory.put(ALICE, user(1), world.now)
    world.tiers.refresh(ALICE)
    await world.primary.asked(1)
    world.primary.reads[0].set_exception(StoresUnavailable("gone"))
    await settled()
    assert world.remembered() == user(1)
    assert world.tiers.counts["failed"] == 1


async def test_a_refresh_that_news_has_overtaken_is_not_kept(world: World) -> None:
    world.memory.put(ALICE, user(1), world.now)
    world.tiers.refresh(ALICE)
    await world.primary.asked(1)
    world.memory.drop(ALICE)
    world.tiers.doom(ALICE)
    world.primary.reads[0].set_result(user(1))
    await settled()
    assert world.remembered() is None


async def test_what_redis_knew_before_the_news_is_a_miss(world: World) -> None:
    """A change was applied here before Redis was told of it: the writer's own read must not win."""
    shelf = Shelf()
    shelf.facts[ALICE] = user(1)
    one = World(redis=shelf)
    shard = shard_of("acme")
    one.tiers.reached(shard, 2)
    loading = one.load()
    await one.primary.asked(1)
    one.primary.reads[0].set_result(user(2))
    assert (await loading).fact == user(2)
    assert not shelf.filled.is_set(), "nor is a fill with that head tried"
    one.memory.drop(ALICE)
    one.tiers.reached(shard, 1)
    assert (await one.load()).tier is Tier.REDIS
    await one.tiers.close()
    assert world is not one
