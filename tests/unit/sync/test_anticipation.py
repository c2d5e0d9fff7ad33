"""Loading ahead: what is predicted or revalidated, what is left alone, and how that is judged."""

import asyncio
from collections.abc import Callable, Iterable

import pytest

from sidecar.cache.memory import Memory
from sidecar.model.facts import RoleGraph, Session, User
from sidecar.model.need import ABSENT, Found, RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache
from sidecar.sync import anticipation as anticipation_module
from sidecar.sync.anticipation import Anticipation, Revalidating

NOW = 1000.0
WALL = 1_800_000_000.0
ALICE = UserNeed("acme", "alice")
ROLES = RolesNeed("acme")
SESSION = SessionNeed(b"d" * 32, shard_of("acme"))
FACT = Session(version=1, id="i", tenant="acme", subject="alice", expires_at=WALL + 60)
REVOKED = Session(
    version=2, id="i", tenant="acme", subject="alice", expires_at=WALL + 60, revoked_at=WALL
)
EXPIRED = Session(version=1, id="i", tenant="acme", subject="alice", expires_at=WALL)


class World:
    """Loading ahead into a real memory, with reads that the test sees and answers."""

    def __init__(self, *, predicts: bool = True, per_second: int = 100) -> None:
        self.now = NOW
        self.memory = Memory(Cache(), jitter=lambda: 0.5)
        self.memory.lease_all(NOW + 1000)
        self.reads: list[StoreNeed] = []
        self.busy = False
        self.ahead = Anticipation(
            self.memory,
            self,
            Cache(anticipated_per_second=per_second, revalidate_seconds=0.001),
            instant=lambda: self.now,
            wall=lambda: WALL,
            chance=lambda: 0.5,
            predicts=predicts,
        )

    def anticipate(self, need: StoreNeed) -> bool:
        if not self.busy:
            self.reads.append(need)
        return not self.busy

    def met(self) -> None:
        """The session was asked for and found."""
        self.ahead.asked(SESSION)
        self.ahead.landed(SESSION, FACT)

    def bring(self) -> None:
        """What was read ahead is there."""
        self.memory.put(ALICE, User(version=1, tenant="acme", subject="alice"), self.now)
        self.memory.put(ROLES, RoleGraph(version=1, tenant="acme"), self.now)

    def later(self) -> None:
        """Guesses are judged."""
        self.now += 3
        self.ahead.judge()


@pytest.fixture
def world() -> World:
    return World()


def test_whose_a_session_is_is_known_the_second_time(world: World) -> None:
    world.met()
    assert world.reads == []
    world.ahead.asked(SESSION)
    assert set(world.reads) == {ALICE, ROLES}
    assert world.ahead.counts["prediction"] == 2


@pytest.mark.parametrize("fact", [ABSENT, REVOKED, EXPIRED])
def test_only_sessions_that_are_valid_teach(world: World, fact: Found) -> None:
    """Random tokens are never found: nothing they do fills the predictor."""
    world.ahead.landed(SESSION, fact)
    world.ahead.asked(SESSION)
    assert world.reads == []
    assert len(world.ahead._foresight) == 0


@pytest.mark.parametrize("fact", [ABSENT, REVOKED, EXPIRED])
def test_what_has_ended_is_forgotten(world: World, fact: Found) -> None:
    world.met()
    world.ahead.landed(SESSION, fact)
    world.ahead.asked(SESSION)
    assert world.reads == []


def test_users_and_roles_teach_nothing(world: World) -> None:
    world.ahead.landed(ALICE, User(version=1, tenant="acme", subject="alice"))
    world.ahead.landed(ROLES, RoleGraph(version=1, tenant="acme"))
    world.ahead.asked(ALICE)
    assert world.reads == []


def test_the_feature_can_be_off() -> None:
    world = World(predicts=False)
    world.met()
    world.met()
    assert world.reads == []


def test_what_is_known_is_not_read(world: World) -> None:
    world.met()
    world.memory.put(ROLES, RoleGraph(version=1, tenant="acme"), NOW)
    world.ahead.asked(SESSION)
    assert world.reads == [ALICE]


def test_a_guess_is_made_once_until_it_is_judged(world: World) -> None:
    world.met()
    world.ahead.asked(SESSION)
    world.ahead.asked(SESSION)
    assert len(world.reads) == 2


def test_what_is_asked_for_while_it_is_read_was_right(world: World) -> None:
    world.met()
    world.ahead.asked(SESSION)
    world.ahead.asked(ALICE)
    world.ahead.asked(ROLES)
    world.later()
    assert world.ahead.counts["prediction-used"] == 2
    assert world.ahead.counts["prediction-unused"] == 0


def test_what_is_found_in_memory_was_right(world: World) -> None:
    world.met()
    world.ahead.asked(SESSION)
    world.bring()
    world.memory.find(ALICE, world.now)
    world.later()
    assert world.ahead.counts["prediction-used"] == 1
    assert world.ahead.counts["prediction-unused"] == 1


def test_use_before_it_expired_does_not_count(world: World) -> None:
    world.bring()
    world.memory.find(ALICE, NOW)
    world.memory.find(ROLES, NOW)
    world.now += 100
    world.met()
    world.ahead.asked(SESSION)
    world.bring()
    world.later()
    assert world.ahead.counts["prediction-unused"] == 2


def test_guesses_that_prove_wrong_are_made_no_more_until_seen_again(world: World) -> None:
    world.met()
    world.ahead.asked(SESSION)
    world.later()
    assert world.ahead.counts["prediction-unused"] == 2
    world.ahead.asked(SESSION)
    assert len(world.reads) == 2
    world.ahead.landed(SESSION, FACT)
    world.ahead.asked(SESSION)
    assert len(world.reads) == 4


def test_being_found_does_not_outweigh_being_wrong(world: World) -> None:
    """A session that is found each time, and whose user nobody asks for."""
    world.met()
    for _ in range(20):
        world.met()
        world.later()
    counts = world.ahead.counts
    assert counts["prediction-used"] == 0
    # Each mistake has to be earned back by being seen without a guess.
    assert counts["prediction-unused"] <= 20


def test_guesses_are_judged_when_it_is_time(world: World) -> None:
    world.met()
    world.ahead.asked(SESSION)
    world.now += 1
    world.ahead.judge()
    assert not world.ahead.counts["prediction-unused"]


def test_a_read_that_is_not_started_is_no_guess(world: World) -> None:
    world.met()
    world.busy = True
    world.ahead.asked(SESSION)
    world.later()
    assert world.ahead.counts == {"prediction": 0}


def test_the_budget_is_kept_and_told() -> None:
    world = World(per_second=3)
    world.ahead.signed_in([UserNeed("acme", str(number)) for number in range(10)])
    assert len(world.reads) == 3
    assert world.ahead.counts == {"sign-in": 3, "refused-budget": 7}
    world.now += 1
    world.ahead.signed_in([UserNeed("acme", str(number)) for number in range(10, 20)])
    assert len(world.reads) == 6


def test_nothing_is_read_ahead_while_stores_fail(world: World) -> None:
    world.met()
    world.ahead.failed()
    world.ahead.asked(SESSION)
    world.ahead.signed_in([ALICE])
    assert world.reads == []
    world.now += 1.5
    world.ahead.asked(SESSION)
    assert set(world.reads) == {ALICE, ROLES}


def test_who_signs_in_is_loaded(world: World) -> None:
    world.memory.put(ROLES, RoleGraph(version=1, tenant="acme"), NOW)
    world.ahead.signed_in((SESSION, ALICE, ROLES))
    assert world.reads == [SESSION, ALICE]


async def test_what_has_changed_is_read_again_once(world: World) -> None:
    world.ahead.changed((ALICE, ROLES))
    world.ahead.changed((ALICE,))
    assert world.reads == [], "not at once: the whole fleet heard the same news"
    await until(lambda: len(world.reads) == 2)
    world.ahead.changed((ALICE,))
    await until(lambda: len(world.reads) == 3)
    assert world.ahead.counts["change"] == 3


async def test_what_a_request_has_brought_meanwhile_is_not_read_again(world: World) -> None:
    world.ahead.changed((ALICE, ROLES))
    world.memory.put(ALICE, User(version=2, tenant="acme", subject="alice"), NOW)
    await until(lambda: bool(world.reads))
    assert world.reads == [ROLES]


async def test_changes_that_wait_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anticipation_module, "_MOST_CHANGED", 2)
    world.ahead.changed([UserNeed("acme", str(number)) for number in range(5)])
    await until(lambda: not world.ahead._changed)
    assert len(world.reads) == 2


async def test_judging_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anticipation_module, "_JUDGE_SECONDS", 0.001)
    world.met()
    world.ahead.asked(SESSION)
    world.now += 3
    task = asyncio.create_task(world.ahead.run())
    await until(lambda: world.ahead.counts["prediction-unused"] == 2)
    task.cancel()


class Changed:
    """The memory as the news sees it, and what it says was in use."""

    def __init__(self) -> None:
        self.memory = Memory(Cache(), jitter=lambda: 0.5)
        self.memory.lease_all(NOW + 10)
        self.told: list[StoreNeed] = []
        self.view = Revalidating(self.memory, self.changed, instant=lambda: NOW)
        self.memory.put(ALICE, User(version=1, tenant="acme", subject="alice"), NOW)
        self.memory.put(ROLES, RoleGraph(version=1, tenant="acme"), NOW)
        self.memory.put(SESSION, FACT, NOW)

    def changed(self, needs: Iterable[StoreNeed]) -> None:
        self.told += needs

    def knows(self, need: StoreNeed) -> bool:
        return self.memory.find(need, NOW) is not None


@pytest.mark.parametrize("need", [ALICE, ROLES])
def test_what_was_in_use_is_told_and_forgotten(need: UserNeed | RolesNeed) -> None:
    world = Changed()
    world.memory.find(need, NOW)
    world.view.drop(need)
    assert world.told == [need]
    assert not world.knows(need)


@pytest.mark.parametrize("need", [ALICE, ROLES])
def test_what_was_not_in_use_is_only_forgotten(need: UserNeed | RolesNeed) -> None:
    world = Changed()
    world.view.drop(need)
    assert world.told == []
    assert not world.knows(need)


def test_news_of_a_session_is_its_end() -> None:
    world = Changed()
    world.memory.find(SESSION, NOW)
    world.view.drop(SESSION)
    assert not world.knows(SESSION)
    world.memory.put(SESSION, FACT, NOW)
    world.memory.find(SESSION, NOW)
    world.view.drop(SESSION)
    assert not world.knows(SESSION)
    assert world.told == []


def test_of_a_tenant_the_roles_are_told() -> None:
    world = Changed()
    world.memory.find(ALICE, NOW)
    world.memory.find(ROLES, NOW)
    world.view.drop_tenant("acme")
    assert world.told == [ROLES]
    assert not world.knows(ALICE)
    assert not world.knows(ROLES)


def test_what_is_flushed_is_not_told() -> None:
    world = Changed()
    world.memory.find(ALICE, NOW)
    world.view.flush_shard(shard_of("acme"))
    assert not world.knows(ALICE)
    world.memory.put(ALICE, User(version=1, tenant="acme", subject="alice"), NOW)
    world.memory.find(ALICE, NOW)
    world.view.flush()
    assert not world.knows(ALICE)
    assert world.told == []


def test_leases_are_the_memorys() -> None:
    world = Changed()
    assert world.view.lease_until == NOW + 10
    world.view.lease(3, NOW + 5)
    assert world.view.lease_until == world.memory.lease_until == NOW + 5


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
