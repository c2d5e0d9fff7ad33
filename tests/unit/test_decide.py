"""Deciding: what is missing, in which order, and what may never be believed."""

from typing import Any

import pytest

from sidecar.authorize.permit import Permit
from sidecar.decide import decide
from sidecar.model.decision import Denial, Missing
from sidecar.model.facts import RoleGraph, Session
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
