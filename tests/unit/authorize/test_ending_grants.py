"""Grants that end: to the instant, without compiling anew, whichever way the clock goes."""

import math
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.authorize import authorizer as authorizer_module
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.compilation import Compilation
from sidecar.authorize.principal import IdentityFields
from sidecar.authorize.subject import Subject
from sidecar.model.facts import (
    Effect,
    Role,
    RoleGrant,
    RoleGraph,
    Rule,
    RuleGrant,
    Session,
    User,
)
from sidecar.settings.schema import Cache, Identity

SESSION = Session(version=1, id="s", tenant="acme", subject="ann", expires_at=1e12)
ROLES = ("reader", "writer", "nobody")
GRAPH = RoleGraph(
    version=1,
    tenant="acme",
    roles=(
        Role("base", (), (Rule(Effect.ALLOW, "a:list"),)),
        Role("reader", ("base",), (Rule(Effect.ALLOW, "a:read"),)),
        Role("writer", (), (Rule(Effect.ALLOW, "a:write"), Rule(Effect.DENY, "a:read", "o/2"))),
        Role("nobody", (), (Rule(Effect.DENY, "*"),)),
    ),
)
ACTIONS = ("a:list", "a:read", "a:write")
RESOURCES = ("", "o/1", "o/2")
ENDS = st.none() | st.sampled_from([0.5, 1.0, 1.25, 1.5, 2.0, 3.5, 900.0])
SCOPES = ("*", "o/*", "o/1", "o/2", "o*", "o/**")
USERS = st.builds(
    lambda roles, rules: User(version=1, tenant="acme", subject="ann", roles=roles, rules=rules),
    st.lists(
        st.builds(RoleGrant, st.sampled_from((*ROLES, "missing")), st.sampled_from(SCOPES), ENDS),
        max_size=6,
    ).map(tuple),
    st.lists(
        st.builds(
            RuleGrant,
            st.builds(
                Rule,
                st.sampled_from(list(Effect)),
                st.sampled_from((*ACTIONS, "a:*")),
                st.sampled_from(SCOPES),
            ),
            ENDS,
        ),
        max_size=6,
    ).map(tuple),
)


def make(*, memo: bool = True) -> Authorizer:
    return Authorizer(Cache(), IdentityFields(Identity()), memo=memo)


def subject_of(authorizer: Authorizer, user: User, wall: float, key: bytes = b"key") -> Subject:
    found = authorizer.subject(key, SESSION, user, GRAPH, wall)
    assert isinstance(found, Subject)
    return found


def answers(subject: Subject) -> list[str | None]:
    asked = [(action, resource) for action in ACTIONS for resource in RESOURCES]
    return [None if each is None else each.effect for each in subject.check_many(asked)]


def left_of(user: User, wall: float) -> User:
    """`user` without the grants that have ended, and the others without an end."""
    return User(
        version=1,
        tenant="acme",
        subject="ann",
        roles=tuple(
            RoleGrant(each.role, each.resource)
            for each in user.roles
            if each.expires_at is None or wall < each.expires_at
        ),
        rules=tuple(
            RuleGrant(each.rule)
            for each in user.rules
            if each.expires_at is None or wall < each.expires_at
        ),
    )


WALLS = st.lists(st.sampled_from([0.0, 0.5, 0.75, 1.0, 1.3, 1.5, 2.5, 3.5, 890.0, 901.0, 1600.0]))


@pytest.mark.parametrize("few_grants", [0, 16])
@given(user=USERS, walls=WALLS)
def test_at_each_instant_it_is_as_if_only_what_holds_were_granted(
    few_grants: int, user: User, walls: list[float]
) -> None:
    """The walls come in any order: the clock may be put back."""
    with patch.object(authorizer_module, "_FEW_GRANTS", few_grants):
        compare(user, walls)


def compare(user: User, walls: list[float]) -> None:
    authorizer = make()
    for number, wall in enumerate(walls):
        known = subject_of(authorizer, user, wall, bytes([number % 2]))
        fresh = subject_of(make(memo=False), left_of(user, wall), wall)
        assert answers(known) == answers(fresh)
        assert known.principal.roles == fresh.principal.roles
        assert known.begins_at <= wall < known.changes_at


@pytest.mark.parametrize("memo", [True, False])
@pytest.mark.parametrize("few_grants", [0, 16])
def test_a_denial_that_ended_holds_again_when_the_clock_is_put_back(
    few_grants: int, memo: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorizer_module, "_FEW_GRANTS", few_grants)
    rules = (RuleGrant(Rule(Effect.DENY, "a:read"), 1_000.0), RuleGrant(Rule(Effect.ALLOW, "*")))
    user = User(version=1, tenant="acme", subject="ann", rules=rules)
    authorizer = make(memo=memo)
    effects = []
    for wall in (999.0, 1_001.0, 960.0, 999.9, 1_000.0):
        origin = subject_of(authorizer, user, wall).check("a:read")
        assert origin is not None
        effects.append(origin.effect)
    assert effects == ["deny", "allow", "deny", "deny", "allow"]


@pytest.mark.parametrize("kind", ["rules", "scoped roles"])
def test_grants_that_end_while_others_are_compiled_cost_no_compiling(kind: str) -> None:
    """However fast they end: the first compilation is the last one."""
    many = 5_000
    ends = [float(number % 977) + number / many for number in range(1, many)]
    if kind == "rules":
        grants = tuple(RuleGrant(Rule(Effect.ALLOW, f"a:r{n}"), end) for n, end in enumerate(ends))
        user = User(version=1, tenant="acme", subject="ann", rules=grants)
    else:
        scoped = tuple(RoleGrant("reader", f"o/{n}", end) for n, end in enumerate(ends))
        user = User(version=1, tenant="acme", subject="ann", roles=scoped)
    authorizer = make()
    work = authorizer.subject(b"key", SESSION, user, GRAPH, 0.0)
    assert isinstance(work, Compilation)
    while not work.advance():
        pass
    wall = 0.25
    seen = 0
    while wall < 100.0:
        subject = authorizer.subject(b"key", SESSION, user, GRAPH, wall, done=work)
        assert isinstance(subject, Subject)
        for number in (wall_number := int(wall * 7), wall_number + 1):
            question = (f"a:r{number}", "") if kind == "rules" else ("a:read", f"o/{number}")
            assert (subject.check(*question) is not None) is (wall < ends[number])
        assert wall < subject.changes_at < math.inf
        wall = subject.changes_at
        seen += 1
    assert seen > 100


def test_what_ended_long_ago_takes_no_room() -> None:
    rules = tuple(RuleGrant(Rule(Effect.ALLOW, f"a:r{n}"), float(n)) for n in range(1, 100))
    user = User(version=1, tenant="acme", subject="ann", rules=rules)
    authorizer = make()
    first = subject_of(authorizer, user, 0.0)
    assert subject_of(authorizer, user, 50.0)._sets is first._sets
    assert subject_of(authorizer, user, 800.0)._sets is not first._sets
