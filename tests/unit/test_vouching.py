"""Vouching saves look-ups and never changes an answer: held against deciding without any memo."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.authorize.permit import Permit
from sidecar.cache.memory import Memory
from sidecar.decide import decide
from sidecar.model.decision import Denial, Missing
from sidecar.model.facts import RoleGrant, RoleGraph, Session, Status, User
from sidecar.model.head import RequestHead
from sidecar.model.need import ABSENT, Found, Need, RolesNeed, SessionNeed, UserNeed
from sidecar.model.reason import Reason
from sidecar.model.shard import SHARDS, shard_of
from tests.cases.world import ISSUER, World, build, head_of, present

WALL = 1_000.0
DOCUMENT: dict[str, Any] = {
    "routes": [
        {"path": "/me", "access": "authenticated", "name": "me"},
        {"path": "/read", "permission": "a:read"},
    ],
    "tenants": {
        "acme": {
            "roles": {"reader": {"rules": ["allow a:read"]}},
            "users": {"ann": {"roles": ["reader"]}},
        }
    },
}
SHARD = shard_of("acme")
ANN = UserNeed("acme", "ann")
ROLES = RolesNeed("acme")


@dataclass
class Twins:
    """The same world twice: `quick` remembers and vouches, `plain` looks everything up."""

    quick: World = field(default_factory=lambda: build(DOCUMENT))
    plain: World = field(default_factory=lambda: build(DOCUMENT, memo=False))
    instant: float = 0.0
    wall: float = WALL
    version: int = 1

    def __post_init__(self) -> None:
        token = {"token": {"sub": "ann", "exp": WALL + 100}}
        fields = [present(world, token) for world in (self.quick, self.plain)]
        assert fields[0] == fields[1]
        self.heads = [head_of("GET", path, fields=fields[0]) for path in ("/me", "/read")]
        for memory in self.memories:
            memory.lease_all(1e9)

    @property
    def memories(self) -> tuple[Memory, Memory]:
        return self.quick.snapshot.memory, self.plain.snapshot.memory

    def put(self, need: Need, found: Found | Denial) -> None:
        for memory in self.memories:
            memory.put(need, found, self.instant)

    def answers(self) -> list[tuple[str, object]]:
        """What both say to each request, after loading what is missing; they must agree."""
        found = []
        for head in self.heads:
            quick, plain = (self._ask(world, head) for world in (self.quick, self.plain))
            assert quick == plain
            found.append(quick)
        return found

    def _ask(self, world: World, head: RequestHead) -> tuple[str, object]:
        outcome = decide(head, self.wall, self.instant, world.snapshot)
        if isinstance(outcome, Missing):
            return "missing", outcome.needs
        return ("permit" if isinstance(outcome, Permit) else "refused"), outcome.reason

    def load(self) -> None:
        """Puts in memory what is true."""
        for need, found in self.quick.facts.items():
            self.put(need, found)

    def vouched(self) -> bool:
        """Whether the next answer needs no look-up."""
        before = self.memories[0].statistics()
        self._ask(self.quick, self.heads[0])
        return self.memories[0].statistics() == before


@pytest.fixture
def twins() -> Twins:
    made = Twins()
    made.load()
    for _ in range(2):
        assert [answer for answer, _ in made.answers()] == ["permit", "permit"]
    assert made.vouched(), "from the second use on"
    return made


def changed_user(twins: Twins) -> None:
    twins.put(ANN, User(version=2, tenant="acme", subject="ann", status=Status.DISABLED))


def changed_roles(twins: Twins) -> None:
    twins.put(ROLES, RoleGraph(version=2, tenant="acme"))


def absent_user(twins: Twins) -> None:
    twins.put(ANN, ABSENT)


def dropped(twins: Twins) -> None:
    for memory in twins.memories:
        memory.drop(ANN)


def removed_key(twins: Twins) -> None:
    for memory in twins.memories:
        memory.drop_tokens_of_key(ISSUER, frozenset())


def flushed(twins: Twins) -> None:
    for memory in twins.memories:
        memory.flush()


def flushed_shard(twins: Twins) -> None:
    for memory in twins.memories:
        memory.flush_shard(SHARD)


def dropped_tenant(twins: Twins) -> None:
    for memory in twins.memories:
        memory.drop_tenant("acme")


def lapsed(twins: Twins) -> None:
    for memory in twins.memories:
        memory.lease(SHARD, 0.0)


def aged(twins: Twins) -> None:
    twins.instant += 61.0


def expired(twins: Twins) -> None:
    twins.wall += 200.0


ENDINGS = [
    changed_user,
    changed_roles,
    absent_user,
    dropped,
    removed_key,
    flushed,
    flushed_shard,
    dropped_tenant,
    lapsed,
    aged,
    expired,
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_vouched_for_after(ending: Any, twins: Twins) -> None:
    ending(twins)
    assert not twins.vouched()
    twins.answers()


def test_what_concerns_another_shard_ends_nothing(twins: Twins) -> None:
    other = next(name for name in ("b", "c", "d") if shard_of(name) != SHARD)
    for memory in twins.memories:
        memory.drop(UserNeed(other, "ann"))
        memory.flush_shard(shard_of(other))
        memory.lease(shard_of(other), 0.0)
    assert twins.vouched()
    assert twins.answers()[1] == ("permit", Reason.GRANTED)


def test_a_clock_that_is_set_back_is_noticed(twins: Twins) -> None:
    twins.wall -= 1.0
    assert not twins.vouched()


def test_in_use_is_seen_now_and_then(twins: Twins) -> None:
    twins.instant += 9.9
    assert twins.vouched()
    twins.instant += 0.2
    assert not twins.vouched()
    assert not twins.memories[0].knows(UserNeed("acme", "nobody"), twins.instant)


def test_facts_of_several_shards_are_not_vouched_for(twins: Twins) -> None:
    memory = twins.memories[0]
    session = SessionNeed(b"d" * 32, (SHARD + 1) % SHARDS)
    fact = Session(version=1, id="s", tenant="acme", subject="ann", expires_at=9e9)
    memory.put(session, fact, 0.0)
    assert memory.vouch((session, ANN), 0.0) is None
    assert memory.vouch((ANN, UserNeed("acme", "nobody")), 0.0) is None
    assert memory.vouch((ANN, ROLES), 0.0) is not None


STEPS = st.one_of(
    st.sampled_from(ENDINGS),
    st.sampled_from(["ask", "load", "lease", "grant", "revoke", "later"]),
)


@given(st.lists(STEPS, min_size=1, max_size=25))
@settings(max_examples=150)
def test_whatever_happens_both_say_the_same(steps: list[Any]) -> None:
    twins = Twins()
    twins.load()
    for step in steps:
        if callable(step):
            step(twins)
        elif step == "load":
            twins.load()
        elif step == "lease":
            for memory in twins.memories:
                memory.lease_all(twins.instant + 5.0)
        elif step == "later":
            twins.instant += 3.0
            twins.wall += 3.0
        elif step in {"grant", "revoke"}:
            twins.version += 1
            roles = (RoleGrant("reader"),) if step == "grant" else ()
            twins.put(ANN, User(version=twins.version, tenant="acme", subject="ann", roles=roles))
        twins.answers()
        twins.answers()
        twins.answers()
