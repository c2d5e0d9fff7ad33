"""Deciding: what is missing, in which order, and what may never be believed."""

from typing import Any

import pytest

from sidecar.authorize.permit import Permit
from sidecar.decide import decide, decide_without_stores
from sidecar.model.decision import Denial, Missing
from sidecar.model.facts import (
    Effect,
    RoleGrant,
    RoleGraph,
    Rule,
    RuleGrant,
    Session,
    User,
)
from sidecar.model.head import RequestHead
from sidecar.model.need import ABSENT, Need, RolesNeed, UserNeed
from sidecar.model.reason import Reason
from tests.cases.world import INSTANT, Facts, World, build, head_of, present, session_need

NOW = 1_000.0
DOCUMENT: dict[str, Any] = {
    "routes": [
        {"path": "/me", "access": "authenticated", "name": "me"},
        {"path": "/open", "access": "public"},
        {"path": "/read", "permission": "a:read"},
        {"path": "/lenient", "permission": "a:read", "last_known_good_seconds": 60.0},
    ],
    "tenants": {
        "acme": {
            "roles": {"reader": {"rules": ["allow a:read"]}},
            "users": {"ann": {"roles": ["reader"]}, "dan": {"status": "disabled"}},
        }
    },
}
ANN = UserNeed("acme", "ann")
ROLES = RolesNeed("acme")


@pytest.fixture
def world() -> World:
    return build(DOCUMENT)


def ask(world: World, who: str = "ann", path: str = "/me") -> RequestHead:
    return head_of("GET", path, fields=present(world, {"as": who}))


def needs(outcome: Permit | Denial | Missing) -> tuple[Need, ...]:
    assert isinstance(outcome, Missing)
    return outcome.needs


def reason(outcome: Permit | Denial | Missing) -> Reason:
    assert isinstance(outcome, Permit | Denial)
    return outcome.reason


def test_needs_are_named_together_where_they_can_be(world: World) -> None:
    head = ask(world)
    session = session_need("ann")
    first = decide(head, NOW, INSTANT, world.snapshot)
    assert needs(first) == (session,)
    loaded: Facts = {session: world.facts[session]}
    assert needs(decide(head, NOW, INSTANT, world.snapshot, loaded)) == (ANN, ROLES)
    loaded[ANN] = world.facts[ANN]
    assert needs(decide(head, NOW, INSTANT, world.snapshot, loaded)) == (ROLES,)
    loaded[ROLES] = world.facts[ROLES]
    assert reason(decide(head, NOW, INSTANT, world.snapshot, loaded)) is Reason.AUTHENTICATED


def test_what_is_remembered_is_not_asked_for(world: World) -> None:
    head = ask(world)
    session = session_need("ann")
    world.snapshot.memory.put(session, world.facts[session], INSTANT)
    world.snapshot.memory.put(ROLES, world.facts[ROLES], INSTANT)
    assert needs(decide(head, NOW, INSTANT, world.snapshot)) == (ANN,)


def test_without_the_lease_everything_is_asked_for(world: World) -> None:
    head = ask(world)
    assert reason(world.ask(head, NOW)) is Reason.AUTHENTICATED
    world.snapshot.memory.lease_all(INSTANT)
    assert needs(decide(head, NOW, INSTANT, world.snapshot)) == (session_need("ann"),)


def test_what_was_loaded_goes_before_memory(world: World) -> None:
    head = ask(world)
    assert reason(world.ask(head, NOW)) is Reason.AUTHENTICATED
    loaded: Facts = {session_need("ann"): ABSENT}
    assert reason(decide(head, NOW, INSTANT, world.snapshot, loaded)) is Reason.UNKNOWN_SESSION


def test_a_refused_user_needs_no_roles(world: World) -> None:
    head = ask(world, "dan")
    session = session_need("dan")
    dan = UserNeed("acme", "dan")
    loaded: Facts = {session: world.facts[session], dan: world.facts[dan]}
    assert reason(decide(head, NOW, INSTANT, world.snapshot, loaded)) is Reason.USER_DISABLED


def test_revocation_is_seen_from_memory(world: World) -> None:
    head = ask(world)
    session = session_need("ann")
    assert reason(world.ask(head, NOW)) is Reason.AUTHENTICATED
    known = world.facts[session]
    assert isinstance(known, Session)
    revoked = Session(
        version=2, id=known.id, tenant="acme", subject="ann", expires_at=9e9, revoked_at=NOW
    )
    world.snapshot.memory.put(session, revoked, INSTANT)
    assert reason(decide(head, NOW, INSTANT, world.snapshot)) is Reason.SESSION_REVOKED


def test_expiry_is_seen_from_memory(world: World) -> None:
    head = ask(world)
    assert reason(world.ask(head, NOW)) is Reason.AUTHENTICATED
    assert reason(decide(head, 10_000.0, INSTANT, world.snapshot)) is Reason.SESSION_EXPIRED


def test_a_token_expires_from_memory(world: World) -> None:
    fields = present(world, {"token": {"sub": "ann", "exp": 2_000.0}})
    head = head_of("GET", "/me", fields=fields)
    assert reason(world.ask(head, NOW)) is Reason.AUTHENTICATED
    assert reason(decide(head, 2_004.9, INSTANT, world.snapshot)) is Reason.AUTHENTICATED
    assert reason(decide(head, 2_005.0, INSTANT, world.snapshot)) is Reason.TOKEN_EXPIRED


def test_a_changed_graph_is_seen_at_once(world: World) -> None:
    head = ask(world, path="/read")
    assert reason(world.ask(head, NOW)) is Reason.GRANTED
    world.snapshot.memory.put(ROLES, RoleGraph(version=2, tenant="acme"), INSTANT)
    assert reason(decide(head, NOW, INSTANT, world.snapshot)) is Reason.NOT_GRANTED


def test_public_routes_need_nothing(world: World) -> None:
    head = head_of("GET", "/open", fields=((b"Authorization", b"Bearer x"),))
    assert reason(decide(head, NOW, INSTANT, world.snapshot)) is Reason.PUBLIC


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_refusal_that_was_loaded_is_the_answer(world: World, at: int) -> None:
    head = ask(world)
    path: list[Need] = [session_need("ann"), ANN, ROLES]
    loaded: Facts = {need: world.facts[need] for need in path}
    loaded[path[at]] = Denial(Reason.STORES_UNAVAILABLE, "broken")
    outcome = decide(head, NOW, INSTANT, world.snapshot, loaded)
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.STORES_UNAVAILABLE
    assert outcome.route is not None
    assert outcome.route.name == "me"
    assert (outcome.principal is not None) is (at > 0)


@pytest.mark.parametrize("at", [0, 2])
def test_a_fact_of_another_kind_is_a_bug(world: World, at: int) -> None:
    head = ask(world)
    path: list[Need] = [session_need("ann"), ANN, ROLES]
    loaded: Facts = {need: world.facts[need] for need in path}
    loaded[path[at]] = world.facts[ANN]
    with pytest.raises(TypeError, match="another kind"):
        decide(head, NOW, INSTANT, world.snapshot, loaded)


def test_a_user_that_is_none_is_refused(world: World) -> None:
    head = ask(world)
    path: list[Need] = [session_need("ann"), ANN, ROLES]
    loaded: Facts = {need: world.facts[need] for need in path}
    loaded[ANN] = world.facts[ROLES]
    outcome = decide(head, NOW, INSTANT, world.snapshot, loaded)
    assert reason(outcome) is Reason.UNKNOWN_USER


# -- Last known good ----------------------------------------------------------------------------

# The world's lease ends a second after INSTANT; its entries live 60 s.
LATER = INSTANT + 30.0


def known(world: World, who: str = "ann") -> RequestHead:
    """A request of somebody whose facts were all in use when the stores went away."""
    head = ask(world, who, "/lenient")
    world.ask(head, NOW)
    return head


def test_what_was_good_a_while_ago_permits_where_the_route_says_so(world: World) -> None:
    head = known(world)
    assert isinstance(decide(head, NOW, LATER, world.snapshot), Missing)
    permit = decide_without_stores(head, NOW, LATER, world.snapshot)
    assert isinstance(permit, Permit)
    assert permit.reason is Reason.LAST_KNOWN_GOOD
    assert permit.principal is not None
    assert (permit.principal.subject, permit.route.template) == ("ann", "/lenient")
    assert permit.origin is not None
    assert permit.origin.path == ("reader",)
    # Until the oldest of the facts is too old: the lease ended at INSTANT + 1.
    assert permit.expires_at == NOW + (INSTANT + 1.0 + 60.0 - LATER)


@pytest.mark.parametrize("oldest", [0, 1, 2])
def test_the_permit_ends_when_the_oldest_of_the_facts_is_too_old(world: World, oldest: int) -> None:
    head = ask(world, path="/lenient")
    world.snapshot.memory.lease_all(INSTANT + 1_000.0)
    path: list[Need] = [session_need("ann"), ANN, ROLES]
    for at, need in enumerate(path):
        put_at = INSTANT - (10.0 if at == oldest else 0.0)
        world.snapshot.memory.put(need, world.facts[need], put_at)
    permit = decide_without_stores(head, NOW, INSTANT + 70.0, world.snapshot)
    assert isinstance(permit, Permit)
    assert permit.expires_at == NOW + (INSTANT - 10.0 + 60.0) + 60.0 - (INSTANT + 70.0)


@pytest.mark.parametrize("path", ["/read", "/me", "/nowhere"])
def test_other_routes_permit_nothing_without_stores(world: World, path: str) -> None:
    known(world)
    assert decide_without_stores(ask(world, path=path), NOW, LATER, world.snapshot) is None


def test_beyond_its_bound_nothing_is_good(world: World) -> None:
    head = known(world)
    end = INSTANT + 1.0 + 60.0
    assert decide_without_stores(head, NOW, end - 0.1, world.snapshot) is not None
    assert decide_without_stores(head, NOW, end, world.snapshot) is None


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_was_dropped_or_never_known_stays_unknown(world: World, at: int) -> None:
    head = known(world)
    world.snapshot.memory.drop((session_need("ann"), ANN, ROLES)[at])
    assert decide_without_stores(head, NOW, LATER, world.snapshot) is None


def test_what_was_revoked_before_stays_revoked(world: World) -> None:
    head = known(world)
    session = session_need("ann")
    fact = world.facts[session]
    assert isinstance(fact, Session)
    world.snapshot.memory.put(
        session,
        Session(
            version=2, id=fact.id, tenant="acme", subject="ann", expires_at=9e9, revoked_at=NOW
        ),
        INSTANT,
    )
    assert decide_without_stores(head, NOW, LATER, world.snapshot) is None


def test_an_expired_session_is_not_good(world: World) -> None:
    head = known(world)
    assert decide_without_stores(head, 9_999.0, LATER, world.snapshot) is not None
    assert decide_without_stores(head, 10_000.0, LATER, world.snapshot) is None


def test_an_expired_token_is_not_good(world: World) -> None:
    fields = present(world, {"token": {"sub": "ann", "exp": 2_000.0}})
    head = head_of("GET", "/lenient", fields=fields)
    assert reason(world.ask(head, NOW)) is Reason.GRANTED
    assert decide_without_stores(head, 2_004.9, LATER, world.snapshot) is not None
    assert decide_without_stores(head, 2_005.0, LATER, world.snapshot) is None


def test_old_facts_refuse_nobody(world: World) -> None:
    """Dan is disabled, and what old facts would say is left to a store (PROMISES 18)."""
    assert decide_without_stores(known(world, "dan"), NOW, LATER, world.snapshot) is None
    absent = ask(world, "ann", "/lenient")
    world.snapshot.memory.put(session_need("ann"), ABSENT, INSTANT)
    assert decide_without_stores(absent, NOW, LATER, world.snapshot) is None


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_a_store_has_just_said_goes_before_what_was_known(world: World, at: int) -> None:
    head = known(world)
    need = (session_need("ann"), ANN, ROLES)[at]
    disabled = User(version=9, tenant="acme", subject="ann")
    said: Facts = {need: (ABSENT, disabled, RoleGraph(version=9, tenant="acme"))[at]}
    assert decide_without_stores(head, NOW, LATER, world.snapshot, said) is None


def test_where_all_of_it_may_be_used_it_is_a_permit_like_any(world: World) -> None:
    permit = decide_without_stores(known(world), NOW, INSTANT, world.snapshot)
    assert isinstance(permit, Permit)
    assert permit.reason is Reason.GRANTED


# -- What takes long to compile -----------------------------------------------------------------

MANY = User(
    version=2,
    tenant="acme",
    subject="ann",
    roles=tuple(RoleGrant("reader", f"things/{at}") for at in range(2_000)),
    rules=(RuleGrant(Rule(Effect.ALLOW, "a:read")),),
)


def test_work_that_is_left_comes_out_and_goes_in_again(world: World) -> None:
    head = ask(world, path="/read")
    session = session_need("ann")
    loaded: Facts = {session: world.facts[session], ANN: MANY, ROLES: world.facts[ROLES]}
    outcome = decide(head, NOW, INSTANT, world.snapshot, loaded)
    assert isinstance(outcome, Missing)
    assert (outcome.needs, outcome.work is None) == ((), False)
    again = decide(head, NOW, INSTANT, world.snapshot, loaded)
    assert isinstance(again, Missing)
    assert again.work is outcome.work, "whoever comes meanwhile waits for the same"
    work = outcome.work
    assert work is not None
    while not work.advance():
        pass
    assert reason(decide(head, NOW, INSTANT, world.snapshot, loaded, work)) is Reason.GRANTED
    assert reason(decide(head, NOW, INSTANT, world.snapshot, loaded)) is Reason.GRANTED


def test_it_is_the_same_for_what_was_good_a_while_ago(world: World) -> None:
    head = ask(world, path="/lenient")
    session = session_need("ann")
    for need, fact in ((session, world.facts[session]), (ANN, MANY), (ROLES, world.facts[ROLES])):
        world.snapshot.memory.put(need, fact, INSTANT)
    outcome = decide_without_stores(head, NOW, LATER, world.snapshot)
    assert isinstance(outcome, Missing)
    assert outcome.work is not None
    while not outcome.work.advance():
        pass
    permit = decide_without_stores(head, NOW, LATER, world.snapshot, done=outcome.work)
    assert isinstance(permit, Permit)
    assert permit.reason is Reason.LAST_KNOWN_GOOD
