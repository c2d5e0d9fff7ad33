"""One server of several is away: what concerns the others goes on."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from redis.exceptions import MovedError, NoScriptError, RedisError

from sidecar.model.change import Change, ChangeKind, Level, ShardState
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache, Redis
from sidecar.sync.follower import Follower
from sidecar.sync.heart import Heart
from sidecar.sync.keyspace import Head, News
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import Outcome, RedisCache, Told
from sidecar.sync.redis_calls import Calls, ShardCall
from sidecar.sync.redis_client import ALL
from sidecar.sync.redis_node import Call, Node, Script
from tests.unit.sync.test_follower import Recorder

LOW, HIGH = frozenset(range(8)), frozenset(range(8, SHARDS))
SCRIPT = Script("return 1")


class Pulse:
    """Two servers with eight shards each."""

    def __init__(self) -> None:
        self.head = Head(7, 1, 0, "life")
        self.away: frozenset[int] = frozenset()
        self.moved: frozenset[int] = frozenset()
        self.unknown = False
        self.beats: list[frozenset[int]] = []
        self.holds = asyncio.Event()
        self.holds.set()

    async def together(self, shards: Iterable[int], /) -> list[set[int]]:
        if self.unknown:
            raise RedisError("nobody is known")
        each = set(shards)
        return [part for part in (each & LOW, each & HIGH) if part]

    async def beat(self, _: str, watermarks: dict[int, int | None], /) -> dict[int, Head | None]:
        shards = frozenset(watermarks)
        if shards & LOW:
            await self.holds.wait()
        if shards & self.away:
            raise RedisError("away")
        self.beats.append(shards)
        return dict.fromkeys(shards - self.moved, self.head)

    async def resign(self, member: str, /) -> None:
        raise AssertionError(member)

    async def log(self, shard: int, first: int, last: int, /) -> list[News]:
        raise AssertionError((shard, first, last))

    async def after(self, shard: int, seq: int, limit: int = 0, /) -> tuple[Change, ...]:
        raise AssertionError((shard, seq, limit))

    async def states(self) -> list[ShardState]:
        raise AssertionError


class Body:
    """A heart and what it keeps alive."""

    def __init__(self, pulse: Pulse) -> None:
        self.now = 10.0
        recorder = Recorder()
        self.follower = Follower(recorder, recorder, 1.5)
        self.heart = Heart(
            pulse, pulse, Cache(), self.follower, member="m", instant=lambda: self.now
        )

    @property
    def leased(self) -> frozenset[int]:
        shards = enumerate(self.follower._shards)
        return frozenset(shard for shard, each in shards if each.lease_until > self.now)


async def test_a_heartbeat_counts_for_the_shards_whose_server_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    pulse = Pulse()
    body = Body(pulse)
    # The first says where each shard is, the second that all of it is known.
    await body.heart.beat(set(ALL))
    assert body.leased == frozenset()
    await body.heart.beat(set(ALL))
    assert body.leased == ALL
    body.now += 1.0
    pulse.away = LOW
    await body.heart.beat(set(ALL))
    await body.heart.beat(set(ALL))
    body.now += 1.0
    assert body.leased == HIGH
    pulse.away = frozenset()
    await body.heart.beat(set(ALL))
    assert body.leased == ALL
    assert [record.getMessage() for record in caplog.records] == [
        "no heartbeat with Redis: RedisError",
        "heartbeats with Redis again",
    ]


async def test_a_server_that_is_frozen_does_not_hold_up_the_leases_of_others() -> None:
    pulse = Pulse()
    body = Body(pulse)
    await body.heart.beat(set(ALL))
    pulse.holds.clear()
    beating = asyncio.create_task(body.heart.beat(set(ALL)))
    while body.leased != HIGH:
        await asyncio.sleep(0)
    pulse.holds.set()
    await beating
    assert body.leased == ALL


async def test_a_shard_that_moved_away_is_missing_from_the_answer() -> None:
    pulse = Pulse()
    body = Body(pulse)
    await body.heart.beat(set(ALL))
    pulse.moved = frozenset({3})
    await body.heart.beat(set(ALL))
    assert body.leased == ALL - {3}
    assert body.heart._is_failing
    # A round of other shards says nothing of it.
    await body.heart.beat({9})
    assert body.heart._is_failing


async def test_no_server_at_all_is_an_error() -> None:
    pulse = Pulse()
    body = Body(pulse)
    pulse.away = ALL
    with pytest.raises(RedisError):
        await body.heart.beat(set(ALL))
    pulse.unknown = True
    with pytest.raises(RedisError):
        await body.heart.beat(set(ALL))
    await body.heart._round(set(ALL))
    assert not body.heart.following.is_set()


class Outbox:
    """PostgreSQL: all shards at sequence 7 in epoch 1."""

    async def states(self) -> list[ShardState]:
        return [await self.state(shard) for shard in range(SHARDS)]

    async def state(self, shard: int) -> ShardState:
        return ShardState(shard, 7, 1, "life")

    async def after(self, shard: int, seq: int, limit: int = 500) -> tuple[Change, ...]:
        return tuple(change(shard, each) for each in range(seq + 1, 8))[:limit]

    async def renew(self, shard: int, epoch: int) -> ShardState:
        raise AssertionError((shard, epoch))

    async def begin_life(self, incarnation: str) -> None:
        raise AssertionError(incarnation)


class Shelves(RedisCache):
    """Heads by shard; some servers are away."""

    def __init__(self) -> None:
        self.known = dict.fromkeys(range(SHARDS), 5)
        self.silent: frozenset[int] = frozenset()
        self.refusing: frozenset[int] = frozenset()

    async def heads(self) -> dict[int, Head | None]:
        if self.silent == ALL:
            raise RedisError("away")
        return {
            shard: Head(seq, 1, 0, "life")
            for shard, seq in self.known.items()
            if shard not in self.silent
        }

    async def invalidate(self, state: ShardState, changes: Sequence[Change]) -> Told:
        if state.shard in self.refusing | self.silent:
            raise RedisError("away")
        self.known[state.shard] = changes[-1].seq
        return Told(Outcome.DONE, changes[-1].seq, 1)


def change(shard: int, seq: int) -> Change:
    return Change(shard, seq, ChangeKind.USER, "acme", "alice", seq)


async def test_catching_up_goes_on_with_the_shards_whose_server_answers() -> None:
    shelves = Shelves()
    shelves.silent, shelves.refusing = frozenset({1}), frozenset({2})
    publisher = Publisher(shelves, Outbox())
    assert await publisher.catch_up() == SHARDS - 2
    assert publisher.away == {1, 2}
    assert {shard for shard, seq in shelves.known.items() if seq == 5} == {1, 2}
    shelves.silent = shelves.refusing = frozenset()
    assert await publisher.catch_up() == 2
    assert publisher.away == frozenset()
    assert await publisher.catch_up() == 0


async def test_catching_up_with_nobody_is_an_error() -> None:
    shelves = Shelves()
    publisher = Publisher(shelves, Outbox())
    shelves.refusing = ALL
    with pytest.raises(RedisError):
        await publisher.catch_up()
    shelves.silent = ALL
    with pytest.raises(RedisError):
        await publisher.catch_up()


async def test_a_change_of_two_shards_is_told_to_the_one_that_answers() -> None:
    shelves = Shelves()
    shelves.silent = frozenset({1})
    publisher = Publisher(shelves, Outbox())
    assert await publisher.publish([change(1, 6), change(2, 6)]) is Level.COMMITTED
    assert (shelves.known[1], shelves.known[2]) == (5, 6)
    assert await publisher.publish([change(3, 6), change(4, 6)]) is Level.PUBLISHED


class Server(Node):
    """Answers each call with its first key, or as it is told."""

    def __init__(self, *errors: Exception, frozen: bool = False) -> None:
        self.errors = list(errors)
        self.frozen = frozen
        self.round_trips = 0

    async def run_each(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        assert script is SCRIPT
        self.round_trips += 1
        if self.frozen:
            await asyncio.Event().wait()
        if self.errors and isinstance(self.errors[0], OSError):
            raise self.errors[0]
        return [*self.errors, *(keys[0] for keys, _ in calls[len(self.errors) :])]


class Client:
    """Shards on servers."""

    settings = Redis(topology="cluster")
    sharded = True

    def __init__(self, servers: Mapping[int, Node]) -> None:
        self._servers = servers
        self.doubts = 0

    async def node(self, shard: int) -> Node:
        if shard not in self._servers:
            raise RedisError("not known")
        return self._servers[shard]

    def nodes(self) -> Mapping[Node, frozenset[int]]:
        raise AssertionError

    def doubt(self) -> None:
        self.doubts += 1

    async def aclose(self) -> None:
        raise AssertionError


def calls(*shards: int) -> list[ShardCall]:
    return [ShardCall(shard, [f"key{shard}"]) for shard in shards]


async def test_answers_come_in_the_order_of_the_calls_in_one_round_trip_each() -> None:
    one, two = Server(), Server()
    client = Client({0: one, 1: two, 2: one})
    found = await Calls(client, 5.0).call_each(SCRIPT, calls(2, 1, 0, 1))
    assert found == ["key2", "key1", "key0", "key1"]
    assert (one.round_trips, two.round_trips, client.doubts) == (1, 1, 0)
    assert await Calls(client, 5.0).together([2, 1, 0]) == [{0, 2}, {1}]
    assert await Calls(client, 5.0).call_each(SCRIPT, []) == []


@pytest.mark.parametrize(
    "bad",
    [Server(OSError("gone")), Server(MovedError("1 h:1")), Server(frozen=True), None],
    ids=["gone", "moved", "frozen", "unknown"],
)
async def test_what_is_not_answered_is_an_error_in_its_place(bad: Server | None) -> None:
    servers: dict[int, Node] = {0: Server()}
    if bad is not None:
        servers[1] = bad
    client = Client(servers)
    first, second = await Calls(client, 0.05).call_each(SCRIPT, calls(0, 1))
    assert first == "key0"
    assert isinstance(second, RedisError | OSError)
    assert client.doubts >= 1
    with pytest.raises((RedisError, OSError)):
        await Calls(client, 0.05).call_each(SCRIPT, calls(1))


async def test_a_search_for_a_server_is_bounded() -> None:
    class Lost(Client):
        async def node(self, shard: int) -> Node:
            await asyncio.Event().wait()
            raise AssertionError(shard)

    client = Lost({})
    with pytest.raises(RedisError, match="in time"):
        await Calls(client, 0.01).call_each(SCRIPT, calls(0))
    with pytest.raises(RedisError, match="in time"):
        await Calls(client, 0.01).call(SCRIPT, calls(0)[0])
    assert client.doubts == 2


async def test_a_server_that_forgot_a_script_is_given_it() -> None:
    """As a promoted replica, which has never seen it."""
    seen: list[str] = []

    class Direct:
        async def evalsha(self, digest: str, *_: object) -> str:
            seen.append(f"evalsha {digest[:4]}")
            raise NoScriptError

        async def eval(self, text: str, count: int, *words: object) -> tuple[object, ...]:
            seen.append(f"eval {text}")
            return (count, *words)

    node = Node(Redis(url="redis://h"))
    node.client = Direct()  # type: ignore[assignment]  # as far as it is used
    assert await node.run(SCRIPT, (["k"], [1, b"v"])) == (1, "k", 1, b"v")
    assert seen == [f"evalsha {SCRIPT.digest[:4]}", "eval return 1"]
