"""Redis as `sidecar doctor` seldom meets it; tests/integration has the usual one."""

from typing import Any

import pytest

from sidecar.cli import doctor_redis
from sidecar.cli.doctor_findings import Finding, State
from sidecar.settings.schema import Redis
from sidecar.sync.redis_node import Node


async def test_no_redis_is_a_warning() -> None:
    [found] = await doctor_redis.look(None)
    assert found.state is State.WARNING
    assert "applied" in found.message


@pytest.mark.parametrize(
    ("told", "state", "part"),
    [
        ({"redis_version": "6.2.7"}, State.PROBLEM, "Redis 6.2.7: too old"),
        ({"redis_version": "7.0.15"}, State.OK, "Redis 7.0.15"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, State.OK, "Valkey 9.1.2"),
        ({}, State.PROBLEM, "too old"),
    ],
)
async def test_redis_versions(told: dict[str, Any], state: State, part: str) -> None:
    [found] = await doctor_redis._version("r", told)
    assert (found.state, part in found.message) == (state, True)


@pytest.mark.parametrize(
    ("told", "state", "part"),
    [
        ({"maxmemory_policy": "volatile-lru", "maxmemory": 10}, State.OK, "evicts no head"),
        ({"maxmemory_policy": "noeviction", "maxmemory": 0}, State.OK, "evicts no head"),
        ({"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 50}, State.OK, "50%"),
        (
            {"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 95},
            State.WARNING,
            "95%",
        ),
        ({"maxmemory_policy": "allkeys-lru"}, State.WARNING, "evicts any key"),
        ({}, State.WARNING, "does not say"),
    ],
)
async def test_eviction(told: dict[str, Any], state: State, part: str) -> None:
    [found] = await doctor_redis._eviction("r", told)
    assert (found.state, part in found.message) == (state, True)


@pytest.mark.parametrize("answers_in", [0.01, 0.1, 0.4])
async def test_latency_is_held_against_what_a_command_may_take(
    answers_in: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    class Client:
        async def ping(self) -> None:
            nonlocal now
            now += answers_in

    class Slow(Node):
        def __init__(self) -> None:
            self.client = Client()  # type: ignore[assignment]  # as far as it is used

    monkeypatch.setattr(doctor_redis, "stopwatch", lambda: now)
    [found] = await doctor_redis._reach(Slow(), "r", Redis(url="redis://r"))
    states = {0.01: State.OK, 0.1: State.WARNING, 0.4: State.PROBLEM}
    assert found.state is states[answers_in]


def test_where_redis_is_said_to_be_holds_no_secret() -> None:
    assert doctor_redis._place("redis://u:hunter2@h:7/0") == "h:7"
    assert doctor_redis._place("redis://h") == "h:6379"
    assert doctor_redis._place("unix:///run/redis.sock?password=hunter2") == "/run/redis.sock"


class Masters:
    """A topology in which each master has some shards."""

    sharded = True

    def __init__(self, *shares: int) -> None:
        begin = iter(range(16))
        self._nodes = {Named(str(n)): [next(begin) for _ in range(n)] for n in shares}

    async def node(self, _shard: int) -> Node:
        if not self._nodes:
            raise ConnectionError("no server is known for shard 0")
        return next(iter(self._nodes))

    def nodes(self) -> dict[Node, frozenset[int]]:
        return {node: frozenset(shards) for node, shards in self._nodes.items()}


class Named(Node):
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("shares", "state", "part"),
    [
        ((8, 5, 3), State.OK, "3 master(s) are named for 16 of 16"),
        ((8, 5), State.PROBLEM, "2 master(s) are named for 13 of 16"),
        ((), State.PROBLEM, "no server is known"),
    ],
)
async def test_every_master_is_looked_at(
    shares: tuple[int, ...], state: State, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[str, int]] = []

    async def look(_client: object, node: Node, shard: int, _settings: object) -> list[Finding]:
        looked.append((node.name, shard))
        return []

    monkeypatch.setattr(doctor_redis, "_server", look)
    settings = Redis(topology="cluster", nodes=("h:1",))
    [found] = await doctor_redis._look(Masters(*shares), settings)  # type: ignore[arg-type]  # as far as it is used
    assert (found.state, part in found.message) == (state, True)
    assert looked == [(str(n), sum(shares[:at])) for at, n in enumerate(shares)]
    assert (found.state is State.OK) == (not found.advice)
