"""The authorizer remembers, and what it remembers is only used with what it was made from."""

import math

import msgspec
import pytest

from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import IdentityFields
from sidecar.authorize.subject import Subject
from sidecar.model.decision import Denial
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
from sidecar.model.need import ABSENT
from sidecar.model.reason import Reason
from sidecar.model.route import Access, Route, RouteMatch
from sidecar.settings.schema import Cache, Identity

NOW = 1_000.0
SESSION = Session(version=1, id="s", tenant="acme", subject="ann", expires_at=5_000.0)
ANN = User(version=1, tenant="acme", subject="ann", roles=(RoleGrant("reader"),))
GRAPH = RoleGraph(
    version=1, tenant="acme", roles=(Role("reader", (), (Rule(Effect.ALLOW, "a:read"),)),)
)


@pytest.fixture
def authorizer() -> Authorizer:
    return Authorizer(Cache(), IdentityFields(Identity()))


def subject_of(
    authorizer: Authorizer,
    user: User = ANN,
    graph: RoleGraph = GRAPH,
    session: Session = SESSION,
    now: float = NOW,
) -> Subject:
    return authorizer.subject(b"key", session, user, graph, now)


def match_of(access: Access, action: str = "") -> RouteMatch:
    route = Route(
        name="r", host=None, template="/", methods=frozenset(), access=access, action=action
    )
    return RouteMatch(route, {"p": "v"})


def test_the_same_facts_give_the_same_subject(authorizer: Authorizer) -> None:
    assert subject_of(authorizer) is subject_of(authorizer)


def test_other_facts_give_another(authorizer: Authorizer) -> None:
    first = subject_of(authorizer)
    user = msgspec.structs.replace(ANN, version=2, roles=())
    assert subject_of(authorizer, user).check("a:read") is None
    graph = RoleGraph(version=2, tenant="acme")
    assert subject_of(authorizer, graph=graph).check("a:read") is None
    session = msgspec.structs.replace(SESSION, expires_at=6_000.0)
    assert subject_of(authorizer, session=session).ends_at == 6_000.0
    assert subject_of(authorizer) is not first


def test_a_graph_of_the_same_version_but_other_content_is_another(authorizer: Authorizer) -> None:
    assert subject_of(authorizer).check("a:read") is not None
    restored = msgspec.structs.replace(GRAPH, roles=())
    assert subject_of(authorizer, graph=restored).check("a:read") is None


def test_users_of_one_tenant_share_their_permissions(authorizer: Authorizer) -> None:
    loaded_again = msgspec.structs.replace(GRAPH)
    bob = msgspec.structs.replace(ANN, subject="bob")
    first = subject_of(authorizer)
    second = authorizer.subject(b"other", SESSION, bob, loaded_again, NOW)
    assert first._sets[0] is second._sets[0]


def test_tenants_do_not(authorizer: Authorizer) -> None:
    other = RoleGraph(version=1, tenant="other", roles=())
    session = msgspec.structs.replace(SESSION, tenant="other")
    assert subject_of(authorizer).check("a:read") is not None
    elsewhere = authorizer.subject(b"other", session, ANN, other, NOW)
    assert elsewhere.check("a:read") is None
    assert elsewhere.principal.tenant == "other"


def test_without_memo_or_after_a_flush_it_compiles_again(authorizer: Authorizer) -> None:
    first = subject_of(authorizer)
    authorizer.flush()
    second = subject_of(authorizer)
    assert first is not second
    assert first._sets[0] is not second._sets[0]
    plain = Authorizer(Cache(), IdentityFields(Identity()), memo=False)
    assert subject_of(plain) is not subject_of(plain)


def test_a_grant_that_ends_ends_the_subject(authorizer: Authorizer) -> None:
    grants = (RuleGrant(Rule(Effect.ALLOW, "b:read"), NOW + 10), RuleGrant(Rule(Effect.ALLOW, "c")))
    user = msgspec.structs.replace(ANN, rules=grants)
    before = subject_of(authorizer, user)
    assert (before.changes_at, before.ends_at) == (NOW + 10, NOW + 10)
    assert subject_of(authorizer, user, now=NOW + 9.9) is before
    after = subject_of(authorizer, user, now=NOW + 10)
    assert [after.check(action) is None for action in ("a:read", "b:read", "c")] == [
        False,
        True,
        False,
    ]
    assert (after.changes_at, after.ends_at) == (math.inf, 5_000.0)


def test_credentials_of_a_user_with_many_grants_share_them(authorizer: Authorizer) -> None:
    rules = [RuleGrant(Rule(Effect.ALLOW, "b:read", f"o/{n}")) for n in range(20)]
    rules[0] = RuleGrant(rules[0].rule, NOW + 10)
    user = msgspec.structs.replace(ANN, rules=tuple(rules))
    first, second = (authorizer.subject(key, SESSION, user, GRAPH, NOW) for key in (b"one", b"two"))
    assert first._sets is second._sets
    without_roles = authorizer.subject(b"three", SESSION, user, ABSENT, NOW)
    assert [without_roles.check(*asked) is None for asked in (("a:read",), ("b:read", "o/1"))] == [
        True,
        False,
    ]
    later = authorizer.subject(b"four", SESSION, user, ABSENT, NOW + 10)
    assert later.check("b:read", "o/0") is None
    elsewhere = [RuleGrant(Rule(Effect.ALLOW, "b:read", f"p/{n}")) for n in range(20)]
    changed = msgspec.structs.replace(user, rules=tuple(elsewhere))
    assert authorizer.subject(b"five", SESSION, changed, ABSENT, NOW + 10).check("b:read", "p/1")
    plain = Authorizer(Cache(), IdentityFields(Identity()), memo=False)
    assert subject_of(plain, user)._sets is not subject_of(plain, user)._sets


def test_many_checks_at_once(authorizer: Authorizer) -> None:
    user = msgspec.structs.replace(ANN, rules=(RuleGrant(Rule(Effect.DENY, "*", "o/1")),))
    asked = [("a:read", "o/1"), ("a:read", "o/2"), ("b:read", "o/2"), ("a:read", "")]
    found = subject_of(authorizer, user).check_many(asked)
    assert [each and each.effect for each in found] == ["deny", "allow", None, "allow"]


def test_without_a_graph_there_are_no_roles(authorizer: Authorizer) -> None:
    subject = authorizer.subject(b"key", SESSION, ANN, ABSENT, NOW)
    assert subject.principal.roles == ()
    assert subject.check("a:read") is None


def test_permits(authorizer: Authorizer) -> None:
    subject = subject_of(authorizer)
    granted = authorizer.authorize(match_of(Access.PERMISSION, "a:read"), "o/1", subject)
    assert isinstance(granted, Permit)
    assert (granted.reason, granted.resource) == (Reason.GRANTED, "o/1")
    assert granted.parameters == {"p": "v"}
    assert granted.principal is subject.principal
    assert granted.origin == subject.check("a:read", "o/1")
    known = authorizer.authorize(match_of(Access.AUTHENTICATED), "", subject)
    assert isinstance(known, Permit)
    assert (known.reason, known.origin) == (Reason.AUTHENTICATED, None)
    public = authorizer.authorize(match_of(Access.PUBLIC), "", subject)
    assert isinstance(public, Permit)
    assert (public.reason, public.principal) == (Reason.PUBLIC, None)


@pytest.mark.parametrize("access", [Access.AUTHENTICATED, Access.PERMISSION])
def test_only_public_routes_admit_anybody(authorizer: Authorizer, access: Access) -> None:
    refused = authorizer.admit(match_of(access))
    assert isinstance(refused, Denial)
    assert refused.reason is Reason.NO_CREDENTIAL


def test_a_permission_route_without_action_is_closed(authorizer: Authorizer) -> None:
    everything = msgspec.structs.replace(ANN, rules=(RuleGrant(Rule(Effect.ALLOW, "*")),))
    subject = subject_of(authorizer, everything)
    refused = authorizer.authorize(match_of(Access.PERMISSION), "", subject)
    assert isinstance(refused, Denial)
    assert refused.reason is Reason.NOT_GRANTED
