"""`Tiers.anticipate` and `load_many`: reads that nobody waits for, and what news does to them."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import RoleGraph, User
from sidecar.model.need import ABSENT, RolesNeed, StoreNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Features
from sidecar.sync.keyspace import Head, StoreFact
from sidecar.sync.redis_cache import Filling, Look
from sidecar.sync.tiers import Loaded, Tier
from tests.unit.sync.test_tiers import ALICE, Shelf, World, settled, user

BOB = UserNeed("acme", "bob")
ROLES = RolesNeed("acme")
SHARD = shard_of("acme")


class Bookcase(Shelf):
    """A Redis that answers many questions at once, when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[StoreNeed]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.refusal = Filling.DONE

    async def look_many(self, needs: Sequence[StoreNeed]) -> list[Look]:
        self.asked.append(list(needs))
        looks = [await self.look(need) for need in needs]
        await self.answers.wait()
        return looks

    async def fill(self, need: StoreNeed, fact: StoreFact, head: Head) -> Filling:
        await super().fill(need, fact, head)
        return self.refusal


@pytest.fixture
async def world() -> AsyncIterator[World]:
    one = World()
    yield one
    await one.tiers.close()


async def test_what_is_read_ahead_is_there(world: World) -> None:
    assert world.tiers.anticipate(ALICE)
    await world.primary.asked(1)
    world.primary.reads[0].set_result(user(1))
    await settled()
    assert await world.load() == Loaded(user(1), Tier.MEMORY)


async def test_who_asks_meanwhile_joins(world: World) -> None:
    world.tiers.anticipate(ALICE)
    await world.primary.asked(1)
    waiting = world.load()
    await settled()
    world.primary.reads[0].set_result(user(1))
    assert (await waiting).fact == user(1)
    assert len(world.primary.reads) == 1


async def test_without_single_flight_nobody_joins() -> None:
    world = World(features=Features(single_flight=False))
    assert world.tiers.anticipate(ALICE)
    waiting = world.load()
    await world.primary.asked(2)
    for read in world.primary.reads:
        read.set_result(user(1))
    assert (await waiting).fact == user(1)
    await world.tiers.close()


async def test_nothing_is_read_that_is_known_or_being_read(world: World) -> None:
    waiting = world.load()
    await world.primary.asked(1)
    assert not world.tiers.anticipate(ALICE)
    world.primary.reads[0].set_result(user(1))
    await waiting
    assert not world.tiers.anticipate(ALICE)
    assert len(world.primary.reads) == 1


async def test_nothing_is_read_ahead_without_a_lease(world: World) -> None:
    world.memory.lease_all(world.now)
    assert not world.tiers.anticipate(ALICE)
    assert len(world.tiers._flights) == 0


async def test_a_request_without_a_lease_does_not_join_what_was_read_ahead(world: World) -> None:
    """R6: what was read ahead may have missed news, like any read that started before."""
    world.tiers.anticipate(ALICE)
    await world.primary.asked(1)
    world.memory.lease_all(world.now)
    waiting = world.load()
    await settled()
    world.primary.reads[0].set_result(user(1))
    await world.primary.asked(2)
    world.primary.reads[1].set_result(user(2))
    assert (await waiting).fact == user(2)


async def test_news_dooms_what_is_read_ahead(world: World) -> None:
    world.tiers.anticipate(ALICE)
    await world.primary.asked(1)
    world.tiers.doom(ALICE)
    world.primary.reads[0].set_result(user(1))
    await settled()
    assert world.remembered() is None
    assert world.tiers.counts["doomed"] == 1


async def test_a_failure_ahead_disturbs_nobody(world: World) -> None:
    world.tiers.anticipate(ALICE)
    await world.primary.asked(1)
    world.primary.reads[0].set_exception(StoresUnavailable("down"))
    await settled()
    assert world.remembered() is None
    assert world.tiers.counts["failed"] == 1


class Told:
    """Who is told what is loaded."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def asked(self, need: StoreNeed) -> None:
        self.told.append(("asked", need))

    def landed(self, need: StoreNeed, fact: object) -> None:
        self.told.append(("landed", need, fact))

    def failed(self) -> None:
        self.told.append("failed")


async def test_who_foresees_is_told_what_is_asked_and_what_comes(world: World) -> None:
    told = Told()
    world.tiers.foresees = told
    first = world.load()
    await world.primary.asked(1)
    world.primary.reads[0].set_exception(StoresUnavailable("down"))
    await asyncio.gather(first, return_exceptions=True)
    second = world.load()
    await world.primary.asked(2)
    world.primary.reads[1].set_result(ABSENT)
    await second
    await world.load()
    assert told.told == [("asked", ALICE), "failed", ("asked", ALICE), ("landed", ALICE, ABSENT)]


async def test_many_are_read_from_redis_in_one_round() -> None:
    shelf = Bookcase()
    shelf.facts = {ALICE: user(1), ROLES: RoleGraph(version=1, tenant="acme")}
    world = World(redis=shelf)
    assert await world.tiers.load_many([ALICE, BOB, ROLES]) == [BOB]
    assert shelf.asked == [[ALICE, BOB, ROLES]]
    assert world.remembered() == user(1)
    assert world.memory.knows(ROLES, world.now)
    assert len(world.tiers._flights) == 0
    assert not world.primary.reads
    assert await world.tiers.load_many([BOB]) == [BOB]
    assert await world.tiers.load_many([]) == []
    assert len(shelf.asked) == 1


async def test_news_dooms_one_of_many() -> None:
    shelf = Bookcase()
    shelf.facts = {ALICE: user(1), BOB: User(version=1, tenant="acme", subject="bob")}
    shelf.answers.clear()
    world = World(redis=shelf)
    reading = asyncio.create_task(world.tiers.load_many([ALICE, BOB]))
    await settled()
    world.tiers.doom(ALICE)
    shelf.answers.set()
    assert await reading == [ALICE]
    assert world.remembered() is None
    assert world.memory.knows(BOB, world.now)
    assert world.tiers.counts["doomed"] == 1


async def test_what_redis_knew_before_the_news_is_a_miss() -> None:
    shelf = Bookcase()
    shelf.facts = {ALICE: user(1)}
    world = World(redis=shelf)
    world.tiers.reached(SHARD, 2)
    assert await world.tiers.load_many([ALICE]) == [ALICE]
    assert world.remembered() is None


@pytest.mark.parametrize("without", ["lease", "feature", "redis"])
async def test_redis_is_not_trusted_with_many(without: str) -> None:
    shelf = Bookcase()
    shelf.facts = {ALICE: user(1)}
    world = World(redis=shelf, features=Features(redis_cache=without != "feature"))
    if without == "lease":
        world.memory.lease_all(world.now)
    shelf.away = without == "redis"
    assert await world.tiers.load_many([ALICE]) == [ALICE]
    assert world.remembered() is None
    assert len(world.tiers._flights) == 0


async def test_a_redis_that_hangs_is_given_up() -> None:
    shelf = Bookcase()
    shelf.facts = {ALICE: user(1)}
    shelf.answers.clear()
    world = World(redis=shelf, bound=0.02)
    assert await world.tiers.load_many([ALICE, BOB]) == [ALICE, BOB]
    assert len(world.tiers._flights) == 0


async def test_reading_many_can_be_cancelled() -> None:
    shelf = Bookcase()
    shelf.answers.clear()
    world = World(redis=shelf)
    reading = asyncio.create_task(world.tiers.load_many([ALICE, BOB]))
    await settled()
    assert len(world.tiers._flights) == 2
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(world.tiers._flights) == 0


@pytest.mark.parametrize("cause", Filling)
async def test_refused_fills_are_counted_by_cause(cause: Filling) -> None:
    shelf = Bookcase()
    shelf.refusal = cause
    world = World(redis=shelf)
    waiting = world.load()
    await world.primary.asked(1)
    world.primary.reads[0].set_result(user(1))
    await waiting
    await shelf.filled.wait()
    await settled()
    expected = {} if cause is Filling.DONE else {f"fill-refused-{cause}": 1}
    counts = world.tiers.counts
    assert {name: counts[name] for name in counts if name.startswith("fill")} == expected
