"""What is said about a change is what is certain: never more than happened."""

from collections.abc import Iterable, Sequence

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from sidecar.cache.acknowledgement import Bounds, Confirmation
from sidecar.model.change import Change, ChangeKind, Level, ShardState
from sidecar.model.errors import StoresUnavailable
from sidecar.model.shard import shard_of
from sidecar.sync.acknowledge import Acknowledger
from sidecar.sync.announce import Announcer, Wanted
from sidecar.sync.keyspace import Head

SHARD = shard_of("acme")
CHANGE = Change(SHARD, 7, ChangeKind.USER, "acme", "ann")
COMMITTED, PUBLISHED, APPLIED = (Wanted(level, 0.0) for level in Level)


class Stores:
    """Redis and PostgreSQL, as far as an announcement asks them."""

    def __init__(self) -> None:
        self.head: Head | None = Head(7, 2, 0, "one")
        self.epoch = 2
        self.confirmed = 7
        self.redis_is_away = False
        self.postgres_is_away = False
        self.publishes = Level.PUBLISHED
        self.published: list[Sequence[Change]] = []

    async def publish(self, changes: Sequence[Change]) -> Level:
        self.published.append(changes)
        return self.publishes

    async def members(self, shard: int, /) -> tuple[Head | None, float, list[Confirmation]]:
        assert shard == SHARD
        if self.redis_is_away:
            raise RedisConnectionError
        return self.head, 3600.0, [Confirmation("m1", self.confirmed, 2, 0.1)]

    async def may_lose_writes(self, shards: Iterable[int], /) -> bool:
        assert set(shards) == {SHARD}
        return False

    async def epoch_age(self, shard: int, epoch: int, /) -> float:
        assert (shard, epoch) == (SHARD, 2)
        return 3600.0

    async def state(self, shard: int, /) -> ShardState:
        if self.postgres_is_away:
            raise StoresUnavailable("gone")
        return ShardState(shard, 7, self.epoch, "one")

    def announcer(self, *, redis: bool = True) -> Announcer:
        acknowledger = Acknowledger(self, self, Bounds(1.5, 4.0)) if redis else None
        return Announcer(self.publish, self, acknowledger)


async def test_each_level_is_reached() -> None:
    stores = Stores()
    announcer = stores.announcer()
    found = await announcer.announce("acme", (CHANGE,), COMMITTED)
    assert (found.level, stores.published) == (Level.COMMITTED, [])
    assert (await announcer.announce("acme", (CHANGE,), PUBLISHED)).level is Level.PUBLISHED
    found = await announcer.announce("acme", (CHANGE,), APPLIED)
    assert (found.level, found.confirmed, found.why) == (Level.APPLIED, ("m1",), "")
    assert stores.published == [(CHANGE,), (CHANGE,)]


async def test_what_redis_was_not_told_is_committed_whatever_was_asked_for() -> None:
    stores = Stores()
    stores.publishes = Level.COMMITTED
    for wanted in (PUBLISHED, APPLIED):
        found = await stores.announcer().announce("acme", (CHANGE,), wanted)
        assert (found.level, found.why) == (Level.COMMITTED, "Redis could not be told yet")
    found = await stores.announcer(redis=False).announce("acme", (CHANGE,), PUBLISHED)
    assert found.level is Level.COMMITTED
    assert "no Redis" in found.why


async def test_who_has_not_confirmed_is_named() -> None:
    stores = Stores()
    stores.confirmed = 6
    found = await stores.announcer().announce("acme", (CHANGE,), APPLIED)
    assert (found.level, found.waiting_for) == (Level.PUBLISHED, ("m1",))
    assert "not confirmed" in found.why


async def test_what_is_so_already_has_come_as_far_as_the_last_change() -> None:
    """A call is repeated because its answer was lost: the level is that of what it did before."""
    stores = Stores()
    assert (await stores.announcer().announce("acme", (), PUBLISHED)).level is Level.PUBLISHED
    assert (await stores.announcer().announce("acme", (), APPLIED)).level is Level.APPLIED
    stores.confirmed = 6
    found = await stores.announcer().announce("acme", (), APPLIED)
    assert (found.level, found.waiting_for) == (Level.PUBLISHED, ("m1",))
    assert stores.published == [], "there was nothing to publish"


def suspect(stores: Stores) -> None:
    stores.head = None


def behind(stores: Stores) -> None:
    stores.head = Head(6, 2, 0, "one")


def in_an_older_epoch(stores: Stores) -> None:
    stores.epoch = 3


def of_another_database(stores: Stores) -> None:
    stores.head = Head(7, 2, 0, "two")


def without_redis(stores: Stores) -> None:
    stores.redis_is_away = True


def without_postgres(stores: Stores) -> None:
    stores.postgres_is_away = True


@pytest.mark.parametrize(
    "spoil",
    [suspect, behind, in_an_older_epoch, of_another_database, without_redis, without_postgres],
    ids=lambda spoil: spoil.__name__,
)
@pytest.mark.parametrize("wanted", [PUBLISHED, APPLIED], ids=["published", "applied"])
async def test_what_is_so_already_may_not_be_known_yet(spoil: object, wanted: Wanted) -> None:
    assert callable(spoil)
    stores = Stores()
    spoil(stores)
    assert (await stores.announcer().announce("acme", (), wanted)).level is Level.COMMITTED


@pytest.mark.parametrize("changes", [(), (CHANGE,)], ids=["unchanged", "changed"])
async def test_applied_waits_until_redis_has_been_told_by_somebody_else(
    changes: Sequence[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content begins a new life: whoever asks for `applied` has time for that."""
    stores = Stores()
    stores.publishes = Level.COMMITTED
    behind(stores)
    looks = 0

    async def pause(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            stores.head = Head(7, 2, 0, "one")

    monkeypatch.setattr("sidecar.sync.announce.asyncio.sleep", pause)
    found = await stores.announcer().announce("acme", changes, Wanted(Level.APPLIED, 10.0))
    assert (found.level, found.why, looks) == (Level.APPLIED, "", 3)


async def test_nobody_waits_for_applied_longer_than_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores = Stores()
    behind(stores)
    now = 100.0

    async def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("sidecar.sync.announce.asyncio.sleep", pause)
    monkeypatch.setattr("sidecar.sync.announce.time.monotonic", lambda: now)
    found = await stores.announcer().announce("acme", (), Wanted(Level.APPLIED, 3.0))
    assert (found.level, found.why) == (Level.COMMITTED, "Redis could not be told yet")
    assert 102.0 < now <= 103.0
