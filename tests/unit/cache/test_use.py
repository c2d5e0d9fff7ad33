"""What memory tells about use, without counting as use itself."""

import pytest

from sidecar.cache.memory import Memory
from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.facts import RoleGraph, Session, User
from sidecar.model.need import ABSENT, Need, RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache

NOW = 1000.0
ALICE = UserNeed("acme", "alice")
FACT = User(version=1, tenant="acme", subject="alice")


@pytest.fixture
def memory() -> Memory:
    """An empty one that is leased."""
    made = Memory(Cache(), jitter=lambda: 0.5)
    made.lease_all(NOW + 1000)
    return made


def test_uses_are_told_and_not_counted() -> None:
    cache: S3Fifo[str, int] = S3Fifo(10)
    cache.put("a", 1)
    assert cache.uses("a") == cache.uses("b") == 0
    for _ in range(5):
        cache.get("a")
    assert cache.uses("a") == cache.uses("a") == 3
    assert (cache.hits, cache.misses) == (5, 0)


@pytest.mark.parametrize("begin", range(5))
def test_looking_for_what_is_in_use_goes_round(begin: int) -> None:
    cache: S3Fifo[int, int] = S3Fifo(10)
    for key in range(4):
        cache.put(key, key)
        cache.get(key)
        cache.get(key)
    rotated = [(begin + step) % 4 for step in range(4)]
    assert cache.in_use(3, begin) == rotated[:3]
    assert cache.in_use(9, begin) == rotated


def test_chance_says_where_to_begin(memory: Memory) -> None:
    users = [UserNeed("acme", str(number)) for number in range(4)]
    session = SessionNeed(b"d" * 32, shard_of("acme"))
    memory.put(session, Session(version=1, id="i", tenant="acme", subject="0", expires_at=9e9), NOW)
    memory.put(RolesNeed("acme"), RoleGraph(version=1, tenant="acme"), NOW)
    for need in users:
        memory.put(need, User(version=1, tenant="acme", subject=need.subject), NOW)
    needs: list[Need] = [session, RolesNeed("acme"), *users]
    for each in needs * 2:
        memory.find(each, NOW)
    assert memory.in_use(1) == [session, users[0], RolesNeed("acme")]
    assert memory.in_use(1, 0.99) == [session, users[3], RolesNeed("acme")]
    assert memory.in_use(2, 0.99) == [session, users[3], users[0], RolesNeed("acme")]


def test_knowing_is_what_finding_would_find(memory: Memory) -> None:
    bob = UserNeed("acme", "bob")
    memory.put(ALICE, FACT, NOW)
    memory.put(bob, ABSENT, NOW)
    assert memory.knows(ALICE, NOW)
    assert memory.knows(bob, NOW)
    assert not memory.knows(UserNeed("acme", "carol"), NOW)
    assert not memory.knows(bob, NOW + 10), "an absence is believed for seconds"
    assert not memory.knows(ALICE, NOW + 100), "expired"
    assert memory.statistics().users.hits == 0
    memory.lease_all(NOW)
    assert not memory.knows(ALICE, NOW)


def test_only_what_was_found_and_has_not_expired_is_used(memory: Memory) -> None:
    memory.put(ALICE, FACT, NOW)
    assert not memory.is_used(ALICE, NOW)
    memory.knows(ALICE, NOW)
    assert not memory.is_used(ALICE, NOW)
    memory.find(ALICE, NOW)
    assert memory.is_used(ALICE, NOW)
    assert not memory.is_used(ALICE, NOW + 100)
    assert not memory.is_used(UserNeed("acme", "bob"), NOW)
