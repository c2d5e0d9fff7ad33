"""Where Redis is: who is believed, when it is looked up again, and what waits for it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import RedisError

from sidecar.model.shard import SHARDS
from sidecar.settings.address import TcpAddress
from sidecar.settings.schema import Redis
from sidecar.sync import redis_discovery
from sidecar.sync.redis_client import ALL, StandaloneClient, open_client
from sidecar.sync.redis_cluster import ClusterFinder, read_slots
from sidecar.sync.redis_discovery import DiscoveredClient, Places, most_answers
from sidecar.sync.redis_sentinel import SentinelFinder, read_master

CLUSTER = Redis(topology="cluster", nodes=("seed:1",))
SENTINEL = Redis(topology="sentinel", nodes=("s1:1", "s2:2", "s3:3"), service="sessions")
A, B, C = (TcpAddress(f"10.0.0.{number}", 6379) for number in range(1, 4))


class Finder:
    """Says what it is told to say, when it is told to."""

    sharded = True
    every_seconds = 3600.0

    def __init__(self) -> None:
        self.says: Places | Exception = (A,) * SHARDS
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.looks = 0
        self.closed = False

    async def find(self) -> Places:
        self.looks += 1
        await self.may_answer.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def finder() -> Finder:
    return Finder()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks may follow each other."""
    monkeypatch.setattr(redis_discovery, "_AGAIN_SECONDS", 0.0)


@pytest.fixture
async def client(finder: Finder) -> AsyncIterator[DiscoveredClient]:
    opened = DiscoveredClient(CLUSTER, finder)
    yield opened
    await opened.aclose()


async def looked(client: DiscoveredClient) -> None:
    """Until the present look has ended."""
    async with asyncio.timeout(10):
        while client._looking is not None:
            await asyncio.sleep(0)


async def test_many_wait_for_one_look(client: DiscoveredClient, finder: Finder) -> None:
    finder.may_answer.clear()
    asked = [asyncio.create_task(client.node(shard)) for shard in range(SHARDS)]
    await asyncio.sleep(0)
    asked[0].cancel()
    finder.may_answer.set()
    nodes = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(nodes[0], asyncio.CancelledError)
    assert len({id(node) for node in nodes[1:]}) == 1
    assert finder.looks == 1
    node = await client.node(0)
    assert node.name == "10.0.0.1:6379"
    assert client.nodes() == {node: ALL}
    assert client.sharded


async def test_who_is_known_is_used_while_it_is_looked_up_again(
    client: DiscoveredClient, finder: Finder
) -> None:
    old = await client.node(5)
    finder.says = (*((A,) * 8), *((B,) * 8))
    finder.may_answer.clear()
    client.doubt()
    client.doubt()
    assert await client.node(5) is old
    assert await client.node(12) is old
    finder.may_answer.set()
    await looked(client)
    assert await client.node(5) is old
    new = await client.node(12)
    assert new.name == "10.0.0.2:6379"
    assert client.nodes() == {old: frozenset(range(8)), new: frozenset(range(8, 16))}
    # The second doubt came before the answer: it is about what was known then.
    assert finder.looks == 2


async def test_who_is_replaced_is_closed_when_nobody_uses_it_any_more(
    client: DiscoveredClient, finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await client.node(0)
    closed = []

    async def close() -> None:
        closed.append(old)
        raise RedisError("gone already")

    old.aclose = close  # type: ignore[method-assign]  # seen
    finder.says = (B,) * SHARDS
    client.doubt()
    await looked(client)
    assert old not in client.nodes()
    assert closed == []
    monkeypatch.setattr(redis_discovery, "_RETIRED_SECONDS", -1.0)
    client.doubt()
    await looked(client)
    assert closed == [old]


async def test_a_look_that_fails_changes_nothing_and_is_tried_again(
    client: DiscoveredClient, finder: Finder, caplog: pytest.LogCaptureFixture
) -> None:
    node = await client.node(0)
    finder.says = RedisError("nobody there")
    client.doubt()
    await looked(client)
    assert await client.node(0) is node
    await looked(client)
    assert await client.node(0) is node
    await looked(client)
    assert finder.looks == 4
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warnings == ["where Redis is cannot be found out: nobody there"]
    finder.says = (B,) * SHARDS
    client.nodes()
    await looked(client)
    assert (await client.node(0)).name == "10.0.0.2:6379"
    assert finder.looks == 5


async def test_nothing_known_is_an_error(client: DiscoveredClient, finder: Finder) -> None:
    finder.says = RedisError("nobody there")
    with pytest.raises(RedisError, match="no server is known for shard 3"):
        await client.node(3)
    assert client.nodes() == {}
    finder.says = (A, None, *((A,) * 14))
    client.doubt()
    await looked(client)
    assert (await client.node(0)).name == "10.0.0.1:6379"
    with pytest.raises(RedisError, match="no server is known for shard 1"):
        await client.node(1)


async def test_nobody_is_asked_again_and_again(
    client: DiscoveredClient, finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_discovery, "_AGAIN_SECONDS", 3600.0)
    await client.node(0)
    for _ in range(5):
        client.doubt()
        await asyncio.sleep(0)
    assert finder.looks == 1
    monkeypatch.setattr(redis_discovery, "_AGAIN_SECONDS", 0.0)
    client.nodes()
    await looked(client)
    assert finder.looks == 2


async def test_it_is_looked_up_now_and_then_without_a_doubt(
    client: DiscoveredClient, finder: Finder
) -> None:
    await client.node(0)
    finder.every_seconds = 0.0
    client.nodes()
    await looked(client)
    assert finder.looks == 2


async def test_closing_ends_a_look(finder: Finder) -> None:
    client = DiscoveredClient(CLUSTER, finder)
    finder.may_answer.clear()
    client.doubt()
    await asyncio.sleep(0)
    await client.aclose()
    assert finder.closed


async def answering(value: int | Exception, frozen: bool = False) -> int:
    if frozen:
        await asyncio.Event().wait()
    if isinstance(value, Exception):
        raise value
    return value


async def test_most_answers_are_enough() -> None:
    async with asyncio.timeout(10):
        assert sorted(await most_answers([answering(1), answering(2), answering(3, True)])) == [
            1,
            2,
        ]


async def test_who_fails_is_left_out() -> None:
    asked = [answering(RedisError("no")), answering(OSError("no")), answering(TimeoutError())]
    assert await most_answers([*asked, answering(4)]) == [4]
    assert await most_answers([answering(RedisError("no"))]) == []


def sentinel(epoch: int, master: TcpAddress) -> tuple[Any, Any]:
    state = [b"name", b"sessions", b"config-epoch", str(epoch).encode()]
    return [master.host.encode(), str(master.port).encode()], state


async def test_the_sentinel_that_knows_the_latest_failover_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finder = SentinelFinder(SENTINEL)
    answers = iter([sentinel(3, A), sentinel(4, B), sentinel(3, A)])

    async def ask(*commands: tuple[str, ...]) -> list[Any]:
        assert [words[0] for words in commands] == ["SENTINEL", "SENTINEL"]
        return list(next(answers))

    for line in finder._lines:
        monkeypatch.setattr(line, "ask", ask)
    assert await finder.find() == (B,) * SHARDS
    await finder.aclose()


@pytest.mark.parametrize(
    ("address", "state"),
    [
        (None, [b"config-epoch", b"1"]),
        ([b"h", b"x"], [b"config-epoch", b"1"]),
        ([b"h", b"1"], [b"config-epoch"]),
        ([b"h", b"1"], []),
        ([b"h", b"1"], None),
        ([1, b"1"], [b"config-epoch", b"1"]),
    ],
)
def test_what_is_no_answer_of_a_sentinel_is_an_error(address: Any, state: Any) -> None:
    with pytest.raises(RedisError):
        read_master(address, state)


async def test_sentinels_that_are_away_are_an_error() -> None:
    finder = SentinelFinder(Redis(topology="sentinel", nodes=("127.0.0.1:1",), service="sessions"))
    with pytest.raises(RedisError, match="none knows a master sessions"):
        await finder.find()
    await finder.aclose()


def slots(*masters: tuple[int, int, bytes | None, int]) -> list[Any]:
    return [
        [first, last, [host, port, b"id", {}], [b"replica", 1, b"id"]]
        for first, last, host, port in masters
    ]


def test_masters_are_read_by_slot() -> None:
    answer = slots((0, 99, b"10.0.0.1", 6379), (100, 199, b"10.0.0.2", 6379), (200, 299, b"", 7))
    asked = TcpAddress("seed", 1)
    assert read_slots(answer, [0, 99, 100, 250, 300], asked) == (
        A, A, B, TcpAddress("seed", 7), None,
    )  # fmt: skip
    assert read_slots(slots((0, 9, None, 7)), [5], asked) == (TcpAddress("seed", 7),)
    assert read_slots(slots((0, 9, b"?", 7)), [5], asked) == (None,)


@pytest.mark.parametrize("answer", [None, 5, [[1]], [[0, 9, [b"h", b"x"]]], [[0, 9, [5, 6, 7]]]])
def test_what_is_no_answer_of_a_node_is_an_error(answer: Any) -> None:
    with pytest.raises(RedisError):
        read_slots(answer, [5], A)


async def test_the_master_that_most_nodes_name_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = ClusterFinder(Redis(topology="cluster", nodes=("h1:1", "h2:2", "h3:3")))
    views = {"h1": (A,) * SHARDS, "h2": (B,) * SHARDS, "h3": (B, None, *((B,) * 14))}
    asked = []

    async def view(address: TcpAddress) -> Places:
        asked.append(address)
        return views.get(address.host, (B,) * SHARDS)

    async def all_answers(works: list[Any]) -> list[Any]:
        return [await work for work in works]

    monkeypatch.setattr(finder, "_view", view)
    monkeypatch.setattr("sidecar.sync.redis_cluster.most_answers", all_answers)
    places = await finder.find()
    assert places[0] == B
    assert places[1] in {A, B}
    assert len(asked) == 3
    # From then on those who were found are asked as well, and a bounded number.
    for _ in range(5):
        await finder.find()
    assert TcpAddress(B.host, B.port) in asked
    await finder.aclose()


async def test_a_cluster_that_is_away_is_an_error() -> None:
    finder = ClusterFinder(Redis(topology="cluster", nodes=("127.0.0.1:1",)))
    with pytest.raises(RedisError, match="no node"):
        await finder.find()


async def test_the_topology_chooses_the_client() -> None:
    one = open_client(Redis(url="redis://h"))
    assert isinstance(one, StandaloneClient)
    node = await one.node(7)
    assert one.nodes() == {node: ALL}
    assert node.name == "", "the URL may hold a password"
    one.doubt()
    await one.aclose()
    for settings, sharded in ((SENTINEL, False), (CLUSTER, True)):
        other = open_client(settings)
        assert isinstance(other, DiscoveredClient)
        assert other.sharded is sharded
        await other.aclose()


def test_what_is_not_chosen_is_not_imported() -> None:
    code = (
        "import sys, sidecar.sync.redis_cache as c; from sidecar.settings.schema import Redis; "
        "c.open_client(Redis(url='redis://h')); "
        "print(sorted(m for m in sys.modules if m.startswith('sidecar.sync.redis_')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    for name in ("discovery", "sentinel", "cluster"):
        assert f"redis_{name}" not in found.stdout
