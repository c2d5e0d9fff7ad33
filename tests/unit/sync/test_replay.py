"""What was missed: where it is looked for, in which pages, and when it is given up."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from redis.exceptions import RedisError

from sidecar.cache.following import Beat, Verdict
from sidecar.model.change import Change, ChangeKind
from sidecar.model.errors import StoresUnavailable
from sidecar.sync import replay as replay_module
from sidecar.sync.follower import Follower, Missing
from sidecar.sync.keyspace import News
from sidecar.sync.replay import Replays
from tests.unit.sync.test_follower import Recorder

SHARD = 2


def change(seq: int) -> Change:
    return Change(SHARD, seq, ChangeKind.USER, "acme", f"user-{seq}", seq)


class Store:
    """Redis's log and PostgreSQL's outbox, of what they still hold."""

    def __init__(self, log: Sequence[int] = (), outbox: Sequence[int] = ()) -> None:
        self.kept = {"log": list(log), "outbox": list(outbox)}
        self.asked: list[tuple[str, int, int]] = []
        self.log_is_away = self.outbox_is_away = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def log(self, shard: int, first: int, last: int, /) -> list[News]:
        self.asked.append(("log", first, last))
        await self.goes_on.wait()
        if self.log_is_away:
            raise RedisError("away")
        assert shard == SHARD
        return [News(1, *change(seq)) for seq in self.kept["log"] if first <= seq <= last]

    async def after(self, shard: int, seq: int, limit: int = 1, /) -> tuple[Change, ...]:
        self.asked.append(("outbox", seq + 1, seq + limit))
        if self.outbox_is_away:
            raise StoresUnavailable("away")
        assert shard == SHARD
        return tuple(change(each) for each in self.kept["outbox"] if each > seq)[:limit]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "PAGE", 10)
    monkeypatch.setattr(replay_module, "MOST", 50)


class World:
    """A follower that knows 100 changes and hears that there are more."""

    def __init__(self, store: Store, head: int, *, with_log: bool = True) -> None:
        self.now = 2.0
        self.ended: list[int] = []
        recorder = Recorder()
        self.follower = Follower(recorder, recorder, 1.5)
        self.follower.beaten(SHARD, 0.0, Beat(100, 1, "a"), 0.0)
        self.follower.beaten(SHARD, 1.0, Beat(head, 1, "a"), 1.0)
        self.replays = Replays(
            self.follower,
            store,
            store if with_log else None,
            instant=lambda: self.now,
            ended=self.ended.append,
            jitter=lambda: 1.0,
        )

    @property
    def missing(self) -> Missing:
        [missing] = self.follower.missing(2.0)
        return missing

    @property
    def watermark(self) -> int | None:
        return self.follower.watermark(SHARD)


async def test_many_changes_are_replayed_page_by_page() -> None:
    store = Store(log=range(101, 126))
    world = World(store, 125)
    await world.replays.replay(world.missing)
    assert store.asked == [("log", 101, 110), ("log", 111, 120), ("log", 121, 125)]
    assert (world.watermark, world.follower.resyncs["lost"]) == (125, 0)
    assert world.follower.applied == 25


async def test_a_page_that_the_log_lacks_comes_from_the_outbox() -> None:
    store = Store(log=range(111, 121), outbox=range(90, 130))
    world = World(store, 120)
    await world.replays.replay(world.missing)
    assert store.asked == [("log", 101, 110), ("outbox", 101, 110), ("log", 111, 120)]
    assert (world.watermark, world.follower.resyncs["lost"]) == (120, 0)


async def test_without_a_log_the_outbox_has_it() -> None:
    store = Store(outbox=range(101, 116))
    world = World(store, 115, with_log=False)
    await world.replays.replay(world.missing)
    assert [where for where, *_ in store.asked] == ["outbox", "outbox"]
    assert (world.watermark, world.follower.resyncs["lost"]) == (115, 0)


async def test_a_log_whose_server_is_away_is_no_reason_to_forget() -> None:
    store = Store(outbox=range(101, 106))
    store.log_is_away = True
    world = World(store, 105)
    await world.replays.replay(world.missing)
    assert (world.watermark, world.follower.resyncs["lost"]) == (105, 0)


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        (range(101, 111), ["log", "log", "outbox"]),  # the second page was pruned
        ([*range(101, 105), *range(106, 121)], ["log", "outbox"]),  # one is missing
    ],
)
async def test_what_nobody_has_makes_all_that_follows_forgotten_at_once(
    kept: Sequence[int], asked: list[str]
) -> None:
    store = Store(log=kept)
    world = World(store, 140)
    await world.replays.replay(world.missing)
    assert [where for where, *_ in store.asked] == asked
    assert (world.watermark, world.follower.resyncs["lost"]) == (140, 1)


async def test_too_much_is_not_asked_for() -> None:
    store = Store(log=range(101, 200))
    world = World(store, 151)
    await world.replays.replay(world.missing)
    assert store.asked == []
    assert (world.watermark, world.follower.resyncs["lost"]) == (151, 1)


async def test_a_replay_leaves_the_loop_to_others_between_pages() -> None:
    store = Store(log=range(101, 151))
    world = World(store, 150)
    marks = []

    async def look() -> None:
        while world.watermark != 150:
            marks.append(world.watermark)
            await asyncio.sleep(0)

    await asyncio.gather(world.replays.replay(world.missing), look())
    assert set(marks) >= {110, 120, 130, 140}


async def test_one_replay_of_a_shard_at_a_time_and_its_end_is_told() -> None:
    store = Store(log=range(101, 106))
    store.goes_on.clear()
    world = World(store, 105)
    world.replays.start([world.missing])
    world.replays.start([world.missing])
    assert world.replays.under_way == {SHARD}
    await world.replays.wait(0.01)
    assert store.asked == [("log", 101, 105)]
    assert world.ended == []
    store.goes_on.set()
    await world.replays.wait(10.0)
    assert (world.watermark, world.ended, world.replays.under_way) == (105, [SHARD], frozenset())
    await world.replays.wait(10.0)


async def test_what_is_under_way_is_broken_off() -> None:
    store = Store()
    store.goes_on.clear()
    world = World(store, 105)
    world.replays.start([world.missing])
    await world.replays.wait(0.01)
    await world.replays.stop()
    assert (world.watermark, world.replays.under_way) == (100, frozenset())


async def test_an_outage_is_told_once_and_the_replay_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store(outbox=range(101, 106))
    store.outbox_is_away = True
    world = World(store, 105)
    for _ in range(3):
        world.replays.start([world.missing])
        await world.replays.wait(10.0)
        world.now += 10.0
    assert [record.getMessage() for record in caplog.records] == [
        "what was missed cannot be replayed: away"
    ]
    assert world.ended == [], "nothing to confirm"
    store.outbox_is_away = False
    world.replays.start([world.missing])
    await world.replays.wait(10.0)
    assert (world.watermark, world.ended) == (105, [SHARD])


async def test_a_replay_that_fails_waits_ever_longer_for_the_next() -> None:
    store = Store(outbox=range(101, 106))
    store.outbox_is_away = True
    world = World(store, 105)
    tried = []
    # In steps of 50 ms, whatever the heart asks for.
    for tick in range(200):
        world.now = 2.0 + tick * 0.05
        if world.replays.may_start(SHARD):
            tried.append(tick)
        world.replays.start([world.missing])
        await world.replays.wait(10.0)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[:4] == pytest.approx([2, 4, 8, 16], abs=1)
    assert pauses[4:] == pytest.approx([32, 40, 40, 40], abs=1), "two seconds at most"
    assert len([what for what in store.asked if what[0] == "outbox"]) == len(tried)
    store.outbox_is_away = False
    world.now += 10.0
    world.replays.start([world.missing])
    await world.replays.wait(10.0)
    assert world.watermark == 105
    assert world.replays.may_start(SHARD), "what went well is forgiven"


async def test_a_bug_in_a_replay_does_not_stop_the_next(caplog: pytest.LogCaptureFixture) -> None:
    world = World(Store(), 105)
    world.replays.start([Missing(SHARD + 1, 101, 105)])
    await world.replays.wait(10.0)
    assert "a replay broke off" in caplog.text
    assert world.replays.under_way == frozenset()


@pytest.mark.parametrize(
    ("outbox", "incarnation"),
    [
        ([], "b"),  # the new life has nothing of it
        (range(101, 131), "b"),  # the old server answers late
        (range(101, 131), "a"),  # restored without a new incarnation: a later epoch tells
    ],
)
async def test_a_replay_does_not_outlive_the_life_of_postgresql_it_began_in(
    outbox: Sequence[int], incarnation: str
) -> None:
    store = Store(outbox=outbox)
    store.goes_on.clear()
    world = World(store, 130)
    world.replays.start([world.missing])
    await world.replays.wait(0.01)
    verdict = world.follower.beaten(SHARD, 2.0, Beat(90, 2, incarnation), 2.0)
    assert (verdict, world.watermark) == (Verdict.FLUSH, 90)
    store.goes_on.set()
    await world.replays.wait(10.0)
    assert (world.watermark, world.follower.applied) == (90, 0)
    assert world.follower.resyncs["outlived"] == 1
    # The new life's own changes are missed, and replayed, as ever.
    world.follower.beaten(SHARD, 1.0, Beat(91, 2, incarnation), 1.0)
    assert world.missing[:3] == (SHARD, 91, 91)


async def test_a_replay_of_many_pages_ends_with_the_life_of_postgresql() -> None:
    store = Store(log=range(101, 131))
    world = World(store, 130)
    replay = asyncio.create_task(world.replays.replay(world.missing))
    while world.watermark == 100:
        await asyncio.sleep(0)
    world.follower.beaten(SHARD, 2.0, Beat(90, 2, "b"), 2.0)
    await replay
    assert world.watermark == 90
