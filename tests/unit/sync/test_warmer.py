"""Warming with everything scripted: which favourites, how many are enough, what Redis lacks."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from redis.exceptions import RedisError

from sidecar.cache.memory import Memory
from sidecar.model.decision import Denial
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import User, VerifiedToken
from sidecar.model.need import Absent, StoreNeed, TokenNeed, UserNeed
from sidecar.settings.schema import Cache, Features
from sidecar.sync import warming as warming_module
from sidecar.sync.keyspace import StoreFact
from sidecar.sync.tiers import Tiers
from sidecar.sync.warming import Warmer, decode_need, encode_need

NOW = 1000.0


def users(shard: int, count: int) -> list[UserNeed]:
    return [UserNeed(f"shard-{shard}", f"user-{number}") for number in range(count)]


class Charts:
    """Favourites by shard."""

    def __init__(self, shards: dict[int, list[UserNeed]]) -> None:
        self.shards = shards
        self.asked: list[tuple[int, int]] = []
        self.told: list[StoreNeed | None] = []
        self.away: set[int] = set()

    async def note_used(self, members: Mapping[int, Sequence[bytes]]) -> None:
        self.told += [decode_need(member) for each in members.values() for member in each]

    async def most_used(self, shard: int, most: int) -> list[bytes]:
        if shard in self.away:
            raise RedisError("away")
        self.asked.append((shard, most))
        return [encode_need(need) for need in self.shards.get(shard, ())][:most]


class Stores(Tiers):
    """Redis has some, PostgreSQL the rest, when the test lets them answer."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(
            memory,
            self,
            redis=None,
            verify=no_token,
            features=Features(),
            load_seconds=1.0,
            instant=lambda: NOW,
        )
        self.memory = memory
        self.in_redis: set[StoreNeed] = set()
        self.batches: list[list[StoreNeed]] = []
        self.gate = asyncio.Semaphore(0)
        self.read_from_postgres: list[StoreNeed] = []
        self.down = False

    async def load_many(self, needs: Sequence[StoreNeed]) -> list[StoreNeed]:
        self.batches.append(list(needs))
        await self.gate.acquire()
        return [need for need in needs if need not in self.in_redis]

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        if self.down:
            raise StoresUnavailable("down")
        assert isinstance(need, UserNeed)
        self.read_from_postgres.append(need)
        return User(version=1, tenant=need.tenant, subject=need.subject)

    async def read_many(self, needs: Sequence[StoreNeed]) -> list[StoreFact | Absent]:
        return [await self.read(need) for need in needs]


async def no_token(need: TokenNeed) -> VerifiedToken | Denial:
    raise AssertionError(need)


class World:
    """A warmer with its surroundings."""

    def __init__(self, shards: dict[int, list[UserNeed]], cache: Cache) -> None:
        self.memory = Memory(Cache(), jitter=lambda: 0.5)
        self.memory.lease_all(NOW + 10)
        self.charts = Charts(shards)
        self.stores = Stores(self.memory)
        self.stores.in_redis = {need for each in shards.values() for need in each}
        self.warmer = Warmer(
            self.charts,
            self.memory,
            self.stores,
            cache,
            instant=lambda: NOW,
            chance=lambda: 0.0,
        )

    def open(self, batches: int = 1000) -> None:
        for _ in range(batches):
            self.stores.gate.release()


async def test_what_redis_lacks_is_asked_of_postgres() -> None:
    world = World({1: users(1, 3)}, Cache())
    world.stores.in_redis.discard(users(1, 3)[1])
    world.open()
    await world.warmer.warm()
    assert (world.warmer.wanted, world.warmer.warmed) == (3, 3)
    assert world.stores.read_from_postgres == [users(1, 3)[1]]
    assert str(world.warmer) == "3 of 3 favourites loaded"


async def test_each_shard_gets_its_part_and_the_most_used_come_first() -> None:
    world = World({1: users(1, 50), 2: users(2, 50)}, Cache(warm_entries=32))
    world.open()
    await world.warmer.warm()
    [batch] = world.stores.batches
    # Two for each shard at first; those who have more then share the rest.
    assert batch[:4] == [users(1, 1)[0], users(2, 1)[0], users(1, 2)[1], users(2, 2)[1]]
    assert len(batch) == len(set(batch)) == 32


async def test_a_single_tenant_may_have_all() -> None:
    world = World({7: users(7, 100)}, Cache(warm_entries=80))
    world.open()
    await world.warmer.warm()
    assert world.warmer.wanted == 80
    assert world.charts.asked[-1] == (7, 80)


async def test_no_more_is_asked_for_than_there_is() -> None:
    world = World({7: users(7, 2)}, Cache(warm_entries=80))
    world.open()
    await world.warmer.warm()
    assert len(world.charts.asked) == 16


@pytest.mark.parametrize(("share", "batches"), [(1.0, 4), (0.5, 2), (0.26, 2), (0.25, 1)])
async def test_a_share_is_enough_to_begin_with(
    share: float, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming_module, "_BATCH", 10)
    monkeypatch.setattr(warming_module, "_BATCHES_AT_ONCE", 1)
    world = World({1: users(1, 40)}, Cache(warm_ready_share=share, warm_seconds=60.0))
    warming = asyncio.create_task(world.warmer.warm())
    for done in range(batches):
        await settled()
        assert not warming.done(), done
        world.open(1)
    await warming
    assert world.warmer.warmed == 10 * batches
    # The rest follows in the background.
    world.open()
    await settled()
    assert world.warmer.warmed == 40
    await world.warmer.close()


async def test_none_may_be_enough() -> None:
    world = World({1: users(1, 5)}, Cache(warm_ready_share=0.0, warm_seconds=60.0))
    await world.warmer.warm()
    assert world.warmer.warmed == 0
    world.open()
    await settled()
    assert world.warmer.warmed == 5


async def test_closing_ends_what_goes_on() -> None:
    world = World({1: users(1, 5)}, Cache(warm_ready_share=0.0, warm_seconds=60.0))
    await world.warmer.warm()
    await settled()
    await world.warmer.close()
    world.open()
    await settled()
    assert world.warmer.warmed == 0


async def test_closing_what_never_began_is_nothing() -> None:
    world = World({}, Cache())
    await world.warmer.close()
    assert world.warmer.warmed == 0


async def test_time_over_is_enough() -> None:
    world = World({1: users(1, 5)}, Cache(warm_seconds=0.01))
    await world.warmer.warm()
    assert (world.warmer.wanted, world.warmer.warmed) == (5, 0)


@pytest.mark.parametrize("shards", [{}, {1: []}])
async def test_nothing_to_load_is_done_at_once(shards: dict[int, list[UserNeed]]) -> None:
    world = World(shards, Cache())
    await world.warmer.warm()
    assert (world.warmer.wanted, world.warmer.warmed) == (0, 0)


async def test_a_redis_that_is_away_is_nothing_to_wait_for() -> None:
    world = World({1: users(1, 5)}, Cache())
    world.charts.away = set(range(16))
    await world.warmer.warm()
    assert world.warmer.warmed == 0


async def test_a_server_that_is_away_costs_its_shards_only() -> None:
    world = World({1: users(1, 5), 2: users(2, 5)}, Cache())
    world.charts.away = {1}
    world.open()
    await world.warmer.warm()
    assert world.stores.batches == [users(2, 5)]


async def test_postgres_is_left_alone_when_it_fails() -> None:
    world = World({1: users(1, 100)}, Cache())
    world.stores.in_redis.clear()
    world.stores.down = True
    world.open()
    await world.warmer.warm()
    assert world.warmer.warmed == 0
    assert world.stores.counts["failed"] == warming_module._AT_ONCE


async def test_reports_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more in use than fit in a report, all are told in the course of time."""
    monkeypatch.setattr(warming_module, "_REPORTED", 2)
    world = World({}, Cache())
    chance = iter([0.0, 0.5])
    world.warmer._chance = lambda: next(chance)
    needs = users(3, 4)
    for need in needs:
        world.memory.put(need, User(version=1, tenant=need.tenant, subject=need.subject), NOW)
        world.memory.find(need, NOW)
        world.memory.find(need, NOW)
    await world.warmer.report()
    assert world.charts.told == needs[:2]
    await world.warmer.report()
    assert world.charts.told == needs


async def settled() -> None:
    """Lets everything that can run do so."""
    for _ in range(50):
        await asyncio.sleep(0)
