"""The levels below memory: how long Redis is waited for, and what for."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest

from sidecar.model.facts import Effect, Role, RoleGraph, Rule, User
from sidecar.model.need import RolesNeed, StoreNeed, UserNeed, shard_of_need
from sidecar.sync import in_turns
from sidecar.sync.keyspace import Head, StoreFact, encode_fact
from sidecar.sync.levels import Levels, Loaded, Reading, Tier
from sidecar.sync.redis_cache import RedisCache

ROLES = RolesNeed("acme")
FIELDS = [b"9", b"1", b"0", b"", b""]
HEAD = Head(9, 1, 0, "")
LARGE = RoleGraph(
    version=7,
    tenant="acme",
    roles=(Role("r", (), tuple(Rule(Effect.ALLOW, f"a{i}:b", f"c/{i}") for i in range(9_000))),),
)


def beside(need: StoreNeed) -> UserNeed:
    """A user of the same shard."""
    users = (UserNeed("acme", f"u{number}") for number in range(10_000))
    return next(each for each in users if shard_of_need(each) == shard_of_need(need))


ANN = beside(ROLES)


class Calls:
    """A Redis that answers at once."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, bytes] = {}
        self.count = 0

    async def call(self, _: object, call: Any) -> Any:
        self.count += 1
        return FIELDS, self.blobs.get(call.keys[1])

    async def call_each(self, _: object, calls: Sequence[Any]) -> Any:
        self.count += 1
        return [(FIELDS, [self.blobs.get(key) for key in call.keys[1:]]) for call in calls]


class Cache(RedisCache):
    """The one there is, without a server."""

    def __init__(self) -> None:
        super().__init__(cast("Any", type("Client", (), {"sharded": False})()), "x", 60)
        self.answers = Calls()
        self._calls = cast("Any", self.answers)

    def put(self, need: StoreNeed, fact: StoreFact) -> None:
        key = self.keys.value(need)
        blob = encode_fact(key, fact, HEAD)
        assert blob is not None
        self.answers.blobs[key] = blob


class Primary:
    """A PostgreSQL that knows nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[StoreNeed] = []

    async def read(self, need: StoreNeed) -> Any:
        self.asked.append(need)
        return await asyncio.Future[Any]()

    async def read_many(self, needs: Sequence[StoreNeed]) -> Any:
        self.asked += needs
        return await asyncio.Future[Any]()


class Read(Reading):
    """Remembers its answer."""

    def __init__(self, need: StoreNeed, until: float, order: list[StoreNeed]) -> None:
        super().__init__(need, until, until)
        self.order = order
        self.ended: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()

    def is_wanted(self) -> bool:
        return True

    def fail(self, failure: BaseException) -> None:
        self.ended.set_exception(failure)

    def land(self, loaded: Loaded) -> bool:
        self.order.append(self.need)
        self.ended.set_result(loaded)
        return False


class World:
    """Levels with a Redis that has what it was given."""

    def __init__(self) -> None:
        self.cache, self.primary = Cache(), Primary()
        self.tasks: set[asyncio.Task[None]] = set()
        self.levels = Levels(
            self.primary,
            self.cache,
            0.2,
            Counter(),
            is_leased=lambda _: True,
            tasks=self.tasks,
        )
        self.until = asyncio.get_running_loop().time() + 0.5
        self.order: list[StoreNeed] = []

    def read(self, need: StoreNeed) -> Read:
        made = Read(need, self.until, self.order)
        self.levels.start(made)
        return made

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have so much to do that decoding takes longer than a question to Redis may."""
    decode, loop = in_turns._decoded, asyncio.get_running_loop
    until: list[float] = []

    async def late(*arguments: Any) -> Any:
        until.append(loop().time() + 0.3)
        while loop().time() < until[0]:
            await asyncio.sleep(0)
        return await decode(*arguments)

    monkeypatch.setattr(in_turns, "_decoded", late)


@pytest.mark.usefixtures("busy")
async def test_time_to_decode_is_not_redis_being_silent() -> None:
    world = World()
    world.cache.put(ROLES, LARGE)
    read = world.read(ROLES)
    assert await read.ended == Loaded(LARGE, Tier.REDIS)
    assert not world.levels._is_silent
    assert world.primary.asked == []
    await world.close()


@pytest.mark.usefixtures("busy")
async def test_nobody_waits_for_what_takes_long_to_decode_for_another() -> None:
    world = World()
    ann = User(version=3, tenant=ANN.tenant, subject=ANN.subject)
    world.cache.put(ROLES, LARGE)
    world.cache.put(ANN, ann)
    roles, user = world.read(ROLES), world.read(ANN)
    assert await user.ended == Loaded(ann, Tier.REDIS)
    assert (await roles.ended).fact == LARGE
    assert world.order == [ANN, ROLES]
    assert world.cache.answers.count == 1
    await world.close()


@pytest.mark.usefixtures("busy")
async def test_what_is_warmed_may_take_long_to_decode() -> None:
    world = World()
    world.cache.put(ROLES, LARGE)
    assert await world.levels.read_many([ROLES, ANN]) == [LARGE, None]
    assert not world.levels._is_silent


@pytest.mark.usefixtures("busy")
async def test_what_changed_while_it_was_decoded_is_not_trusted() -> None:
    world = World()
    world.cache.put(ROLES, LARGE)
    world.read(ROLES)
    while not world.cache.answers.count:
        await asyncio.sleep(0)
    world.levels.reached(shard_of_need(ROLES), 10)
    while not world.primary.asked:
        await asyncio.sleep(0)
    assert world.order == []
    await world.close()
