"""PostgreSQL is restored under the same incarnation: nobody waits for ever for what it had."""

import asyncio
from collections.abc import Iterable

import pytest

from sidecar.model.change import Change, ShardState
from sidecar.model.errors import StoresUnavailable
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache
from sidecar.sync.follower import Follower
from sidecar.sync.heart import Heart
from sidecar.sync.keyspace import Head, News
from sidecar.sync.poll import Poll
from sidecar.sync.redis_client import ALL
from tests.unit.sync.test_follower import Recorder


class Stores:
    """Redis's heads and PostgreSQL's sequences."""

    def __init__(self) -> None:
        self.head = Head(40, 5, 0, "life")
        self.seq, self.epoch = 40, 5
        self.asked = 0
        self.is_away = False
        self.holds = asyncio.Event()
        self.holds.set()

    async def together(self, shards: Iterable[int], /) -> list[set[int]]:
        return [set(shards)]

    async def beat(self, _: str, watermarks: dict[int, int | None], /) -> dict[int, Head | None]:
        return dict.fromkeys(watermarks, self.head)

    async def resign(self, member: str, /) -> None:
        raise AssertionError(member)

    async def log(self, shard: int, first: int, last: int, /) -> list[News]:
        raise AssertionError((shard, first, last))

    async def after(self, shard: int, seq: int, limit: int = 0) -> tuple[Change, ...]:
        raise AssertionError((shard, seq, limit))

    async def state(self, shard: int) -> ShardState:
        raise AssertionError(shard)

    async def renew(self, shard: int, epoch: int) -> ShardState:
        raise AssertionError((shard, epoch))

    async def begin_life(self, incarnation: str) -> None:
        raise AssertionError(incarnation)

    async def states(self) -> list[ShardState]:
        self.asked += 1
        if self.is_away:
            raise StoresUnavailable("away")
        found = [ShardState(shard, self.seq, self.epoch, "life") for shard in range(SHARDS)]
        await self.holds.wait()
        return found


class Body:
    """A sidecar that follows all shards, with a lease."""

    def __init__(self, stores: Stores, *, with_redis: bool = True) -> None:
        self.now = 10.0
        self.recorder = Recorder()
        self.follower = Follower(self.recorder, self.recorder, 1.5)
        self.heart = Heart(
            stores, stores, Cache(), self.follower, member="m", instant=lambda: self.now
        )
        self.poll = Poll(stores, Cache(), self.follower, instant=lambda: self.now)
        self.with_redis = with_redis

    async def beat(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 0.6
            if self.with_redis:
                await self.heart.beat(set(ALL))
            else:
                await self.poll.beat()
            for _ in range(5):
                await asyncio.sleep(0)

    @property
    def is_leased(self) -> bool:
        return self.follower.is_leased(self.now)

    @property
    def has_flushed(self) -> bool:
        return ("flush", None) in self.recorder.told


async def body(stores: Stores, *, with_redis: bool = True) -> Body:
    made = Body(stores, with_redis=with_redis)
    await made.beat(2)
    assert made.is_leased
    made.recorder.told.clear()
    return made


async def test_after_a_restore_and_a_flush_of_redis_a_sidecar_begins_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both fell back to epochs and sequences that were passed long ago."""
    stores = Stores()
    me = await body(stores)
    stores.seq, stores.epoch, stores.head = 12, 2, Head(12, 2, 12, "life")
    await me.beat()
    assert me.has_flushed
    await me.beat(2)
    assert (me.is_leased, me.follower.watermark(0)) == (True, 12)
    assert me.follower.resyncs["fallen-back"] == SHARDS
    assert [record.getMessage() for record in caplog.records] == [
        "PostgreSQL was restored: all that was known is forgotten"
    ]


async def test_a_head_that_fell_back_with_postgresql_begins_anew() -> None:
    stores = Stores()
    me = await body(stores)
    stores.seq, stores.head = 12, Head(12, 5, 0, "life")
    await me.beat(3)
    assert (me.is_leased, me.follower.watermark(0)) == (True, 12)


@pytest.mark.parametrize("head", [Head(40, 4, 0, "life"), Head(39, 5, 0, "life")])
async def test_a_master_that_was_replaced_is_not_believed_and_costs_no_memory(head: Head) -> None:
    """PostgreSQL has all that was heard of: it is Redis that has less."""
    stores = Stores()
    me = await body(stores)
    stores.head = head
    await me.beat(5)
    assert (me.is_leased, me.has_flushed, me.follower.watermark(0)) == (False, False, 40)
    assert stores.asked == 5, "once for all shards, and once a heartbeat"
    stores.head = Head(40, 5, 0, "life")
    await me.beat()
    assert me.is_leased


async def test_it_is_asked_again_once_postgresql_is_back_and_never_twice_at_once() -> None:
    stores = Stores()
    me = await body(stores)
    stores.seq, stores.epoch, stores.head = 12, 2, Head(12, 2, 12, "life")
    stores.is_away = True
    await me.beat(2)
    assert (me.has_flushed, stores.asked) == (False, 2)
    stores.is_away = False
    stores.holds.clear()
    await me.beat(3)
    assert (me.has_flushed, stores.asked) == (False, 3)
    stores.holds.set()
    await me.beat(2)
    assert me.has_flushed


async def test_what_is_heard_while_it_is_asked_is_no_contradiction() -> None:
    stores = Stores()
    me = await body(stores)
    stores.head = Head(39, 5, 0, "life")
    stores.holds.clear()
    await me.beat()
    for _ in range(2):
        stores.head = Head(44, 5, 0, "life")
        await me.heart.beat(set(ALL))
    stores.holds.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not me.has_flushed


async def test_a_question_is_broken_off_at_the_end() -> None:
    stores = Stores()
    me = await body(stores)
    stores.head = Head(39, 5, 0, "life")
    stores.holds.clear()
    running = asyncio.create_task(me.heart.run())
    while stores.asked == 0:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "doubts"]


async def test_without_redis_a_sequence_that_falls_is_a_restore() -> None:
    stores = Stores()
    me = await body(stores, with_redis=False)
    stores.seq = 12
    await me.beat()
    assert (me.has_flushed, me.follower.watermark(0)) == (True, 12)
    await me.beat()
    assert me.is_leased
