"""The authorizer remembers, and what it remembers is only used with what it was made from."""

import math

import msgspec
import pytest

from sidecar.authorize import authorizer as authorizer_module
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.compilation import Compilation, Steps
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import IdentityFields
from sidecar.authorize.subject import Permissions, Subject
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
from sidecar.model.need import ABSENT, Absent
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
    graph: RoleGraph | Absent = GRAPH,
    session: Session = SESSION,
    now: float = NOW,
    key: bytes = b"key",
) -> Subject:
    """Compiled in one slice."""
    found = authorizer.subject(key, session, user, graph, now)
    assert isinstance(found, Subject)
    return found


def work_of(
    authorizer: Authorizer, user: User, graph: RoleGraph = GRAPH, now: float = NOW
) -> Compilation[Permissions]:
    """Not compiled in one slice."""
    found = authorizer.subject(b"key", SESSION, user, graph, now)
    assert isinstance(found, Compilation)
    return found


def finish(work: Compilation[Permissions]) -> int:
    """How many slices it took."""
    slices = 1
    while not work.advance():
        slices += 1
    return slices


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
    second = subject_of(authorizer, bob, loaded_again, key=b"other")
    assert first._sets[0] is second._sets[0]


def test_tenants_do_not(authorizer: Authorizer) -> None:
    other = RoleGraph(version=1, tenant="other", roles=())
    session = msgspec.structs.replace(SESSION, tenant="other")
    assert subject_of(authorizer).check("a:read") is not None
    elsewhere = subject_of(authorizer, ANN, other, session, key=b"other")
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
    first, second = (subject_of(authorizer, user, key=key) for key in (b"one", b"two"))
    assert first._sets is second._sets
    without_roles = subject_of(authorizer, user, ABSENT, key=b"three")
    assert [without_roles.check(*asked) is None for asked in (("a:read",), ("b:read", "o/1"))] == [
        True,
        False,
    ]
    later = subject_of(authorizer, user, ABSENT, now=NOW + 10, key=b"four")
    assert later.check("b:read", "o/0") is None
    elsewhere = [RuleGrant(Rule(Effect.ALLOW, "b:read", f"p/{n}")) for n in range(20)]
    changed = msgspec.structs.replace(user, rules=tuple(elsewhere))
    fifth = subject_of(authorizer, changed, ABSENT, now=NOW + 10, key=b"five")
    assert fifth.check("b:read", "p/1")
    plain = Authorizer(Cache(), IdentityFields(Identity()), memo=False)
    assert subject_of(plain, user)._sets is not subject_of(plain, user)._sets


def test_many_checks_at_once(authorizer: Authorizer) -> None:
    user = msgspec.structs.replace(ANN, rules=(RuleGrant(Rule(Effect.DENY, "*", "o/1")),))
    asked = [("a:read", "o/1"), ("a:read", "o/2"), ("b:read", "o/2"), ("a:read", "")]
    found = subject_of(authorizer, user).check_many(asked)
    assert [each and each.effect for each in found] == ["deny", "allow", None, "allow"]


def test_without_a_graph_there_are_no_roles(authorizer: Authorizer) -> None:
    subject = subject_of(authorizer, ANN, ABSENT)
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


# -- Slices -------------------------------------------------------------------------------------


def many(subject: str = "ann", count: int = 10_000) -> User:
    """Half of the grants are roles, half are rules; all on single resources."""
    return User(
        version=1,
        tenant="acme",
        subject=subject,
        roles=tuple(RoleGrant("reader", f"o/{n}") for n in range(count // 2)),
        rules=tuple(
            RuleGrant(Rule(Effect.DENY if n % 7 == 0 else Effect.ALLOW, "b:read", f"p/{n}"))
            for n in range(count // 2)
        ),
    )


def large_graph(roles: int = 50, rules: int = 80) -> RoleGraph:
    return RoleGraph(
        version=1,
        tenant="acme",
        roles=tuple(
            Role(f"r{at}", (), tuple(Rule(Effect.ALLOW, f"r{at}:{n}") for n in range(rules)))
            for at in range(roles)
        ),
    )


HOLDER = msgspec.structs.replace(ANN, roles=tuple(RoleGrant(f"r{at}") for at in range(50)))


def test_what_is_large_is_compiled_in_slices_and_means_the_same(authorizer: Authorizer) -> None:
    work = work_of(authorizer, many())
    assert finish(work) >= 9
    found = authorizer.subject(b"key", SESSION, many(), GRAPH, NOW, done=work)
    assert isinstance(found, Subject)
    asked = [("a:read", "o/4999"), ("a:read", "o/5000"), ("b:read", "p/4999"), ("b:read", "p/7")]
    answers = [each and each.effect for each in found.check_many(asked)]
    assert answers == ["allow", None, "allow", "deny"]


def test_no_slice_does_much_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of grants, of roles and of rules are all counted."""
    monkeypatch.setattr(authorizer_module, "SLICE", 1)
    # Each grant is looked at, each scope and each rule compiled; then the rules of roles.
    for user, graph, whole in ((many(), GRAPH, 20_000), (HOLDER, large_graph(), 4_000)):
        work = work_of(Authorizer(Cache(), IdentityFields(Identity())), user, graph)
        took = []
        while not work.is_over:
            took.append(work.step())
        assert max(took) <= 100
        assert abs(sum(took) - whole) <= 200


def test_whoever_comes_meanwhile_gets_the_same_work(authorizer: Authorizer) -> None:
    user = many()
    work = work_of(authorizer, user)
    assert work_of(authorizer, user) is work
    equal = many()
    assert work_of(authorizer, equal) is work, "loaded again, and the same"
    finish(work)
    found = subject_of(authorizer, equal)
    assert found.user is equal
    again = subject_of(authorizer, many(), key=b"another credential")
    assert again._scopes is found._scopes, "and so is what was made"


def test_other_facts_are_other_work(authorizer: Authorizer) -> None:
    work = work_of(authorizer, many())
    changed = msgspec.structs.replace(many(), version=2, rules=())
    another = work_of(authorizer, changed)
    assert another is not work
    finish(work)
    assert work_of(authorizer, changed) is another
    graph = RoleGraph(version=2, tenant="acme")
    other_roles = work_of(authorizer, changed, graph)
    assert other_roles is not another
    finish(other_roles)
    assert subject_of(authorizer, changed, graph).check("a:read", "o/1") is None
    stale = authorizer.subject(b"key", SESSION, changed, GRAPH, NOW, done=work)
    assert isinstance(stale, Compilation), "what was made of other facts is of no use"


def test_a_grant_that_ended_meanwhile_does_not_hold(authorizer: Authorizer) -> None:
    ends = msgspec.structs.replace(
        many(), rules=(RuleGrant(Rule(Effect.ALLOW, "c:read"), NOW + 10),)
    )
    work = work_of(authorizer, ends)
    finish(work)
    found = authorizer.subject(b"key", SESSION, ends, GRAPH, NOW + 10, done=work)
    assert isinstance(found, Subject), "what was compiled knows of ends"
    assert found.check("c:read") is None


def test_users_who_hold_the_same_roles_share_the_work_on_them(authorizer: Authorizer) -> None:
    graph = large_graph()
    first = work_of(authorizer, HOLDER, graph)
    bob = msgspec.structs.replace(HOLDER, subject="bob")
    session = msgspec.structs.replace(SESSION, subject="bob")
    second = authorizer.subject(b"bob", session, bob, graph, NOW)
    assert isinstance(second, Compilation)
    finish(first)
    assert finish(second) == 1, "the roles are compiled already"
    found = authorizer.subject(b"bob", session, bob, graph, NOW, done=second)
    assert isinstance(found, Subject)
    assert found.check("r49:79") is not None
    assert subject_of(authorizer, HOLDER, graph)._sets[0] is found._sets[0]


def test_without_memo_work_serves_who_did_it() -> None:
    plain = Authorizer(Cache(), IdentityFields(Identity()), memo=False)
    user = many()
    work = work_of(plain, user)
    finish(work)
    assert isinstance(plain.subject(b"key", SESSION, user, GRAPH, NOW, done=work), Subject)
    assert work_of(plain, user) is not work


def breaks_off(*_: object) -> Steps[object]:
    for _step in range(3):
        yield 900
    raise MemoryError


def test_an_error_is_told_and_does_not_stay(
    authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = large_graph()
    monkeypatch.setattr(authorizer_module, "compile_roles", breaks_off)
    work = work_of(authorizer, HOLDER, graph)
    with pytest.raises(MemoryError):
        finish(work)
    assert (work.is_over, work.made, work.advance()) == (True, None, True)
    monkeypatch.undo()
    again = work_of(authorizer, HOLDER, graph)
    assert again is not work
    finish(again)
    assert subject_of(authorizer, HOLDER, graph).check("r1:1") is not None


def test_who_shares_work_that_broke_off_is_told(
    authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorizer_module, "compile_roles", breaks_off)
    monkeypatch.setattr(authorizer_module, "SLICE", 1)
    monkeypatch.setattr(authorizer_module, "STEP", 1)
    graph = large_graph()
    works = []
    for name in ("ann", "bob"):
        user = msgspec.structs.replace(HOLDER, subject=name)
        session = msgspec.structs.replace(SESSION, subject=name)
        work = authorizer.subject(name.encode(), session, user, graph, NOW)
        assert isinstance(work, Compilation)
        works.append(work)
    assert [work.step() for work in works] == [900, 900], "both have come to what they share"
    with pytest.raises(MemoryError):
        finish(works[0])
    with pytest.raises(RuntimeError, match="broke off"):
        finish(works[1])


def test_of_too_much_work_the_oldest_is_no_longer_shared(
    authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorizer_module, "_MOST_UNDER_WAY", 2)
    works = {}
    for name in ("ann", "bob", "cem"):
        session = msgspec.structs.replace(SESSION, subject=name)
        works[name] = authorizer.subject(name.encode(), session, many(name), GRAPH, NOW)
    assert work_of(authorizer, many()) is not works["ann"]
    ann = works["ann"]
    assert isinstance(ann, Compilation)
    finish(ann)
    found = authorizer.subject(b"key", SESSION, many(), GRAPH, NOW, done=ann)
    assert isinstance(found, Subject), "who did it is served all the same"
    authorizer.flush()
    assert work_of(authorizer, many("bob")) is not works["bob"]
