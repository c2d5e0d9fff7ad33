"""The auditor: what it calls stale, and what it does not."""

import asyncio

import pytest

from sidecar.cache.memory import Memory
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import User
from sidecar.model.need import ABSENT, Absent, RolesNeed, StoreNeed, UserNeed
from sidecar.settings.schema import Cache
from sidecar.sync import auditor as auditor_module
from sidecar.sync.auditor import Auditor
from sidecar.sync.keyspace import StoreFact

ANN = UserNeed("acme", "ann")


def user(version: int) -> User:
    return User(version=version, tenant="acme", subject="ann")


class Truth:
    def __init__(self) -> None:
        self.fact: StoreFact | Absent = user(1)
        self.asked = 0
        self.down = False

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        assert isinstance(need, UserNeed | RolesNeed)
        self.asked += 1
        if self.down:
            raise StoresUnavailable("gone")
        return self.fact


class World:
    def __init__(self) -> None:
        self.memory = Memory(Cache(), jitter=lambda: 0.5)
        self.memory.lease_all(1000.0)
        self.memory.put(ANN, user(1), 0.0)
        self.truth = Truth()
        self.now = 1.0
        self.auditor = Auditor(
            self.memory, self.truth, 0.0, instant=lambda: self.now, chance=lambda: 0.0
        )


async def test_what_agrees_is_only_counted() -> None:
    world = World()
    await world.auditor.audit()
    assert (world.auditor.checked, world.auditor.stale) == (1, 0)
    assert world.memory.find(ANN, 1.0) is not None


@pytest.mark.parametrize("truth", [user(2), ABSENT])
async def test_what_stays_older_than_a_lease_is_told_and_forgotten(
    truth: StoreFact | Absent, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.truth.fact = truth
    await world.auditor.audit()
    assert world.auditor.stale == 1
    assert "older than a lease" in caplog.text
    assert world.memory.find(ANN, 1.0) is None


async def test_news_that_arrives_within_the_lease_is_no_fault() -> None:
    world = World()
    world.truth.fact = user(2)
    auditing = asyncio.ensure_future(world.auditor.audit())
    while not world.truth.asked:
        await asyncio.sleep(0)
    world.memory.drop(ANN)
    await auditing
    assert world.auditor.stale == 0


async def test_what_may_not_be_used_is_no_fault() -> None:
    world = World()
    world.truth.fact = user(2)
    world.now = 2000.0
    await world.auditor.audit()
    assert world.auditor.stale == 0


async def test_a_database_that_is_away_is_no_fault_and_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auditor_module, "_PAUSE_SECONDS", 0.001)
    world = World()
    world.truth.down = True
    task = asyncio.create_task(world.auditor.run())
    async with asyncio.timeout(5):
        while world.truth.asked < 2:
            await asyncio.sleep(0)
    world.truth.down = False
    async with asyncio.timeout(5):
        while not world.auditor.checked:
            await asyncio.sleep(0)
    task.cancel()
    assert world.auditor.stale == 0
