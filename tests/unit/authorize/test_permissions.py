"""Permissions: the compiled sets agree with reading every rule of every role."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.authorize import permissions
from sidecar.authorize.compilation import Compilation, Steps
from sidecar.authorize.permissions import GraphIndex, PermissionSet, check
from sidecar.model.facts import Effect, Role, RoleGraph, Rule, RuleGrant

NAMES = ["r0", "r1", "r2", "r3", "missing"]


def at_once(steps: Steps[PermissionSet]) -> PermissionSet:
    compilation = Compilation(steps)
    while not compilation.advance():
        pass
    assert compilation.made is not None
    return compilation.made


def compile_roles(index: GraphIndex, held: frozenset[str]) -> PermissionSet:
    return at_once(permissions.compile_roles(index, held))


def compile_rules(rules: list[Rule]) -> PermissionSet:
    return at_once(permissions.compile_rules([RuleGrant(rule) for rule in rules]))


ACTIONS = ["a:x", "a:y", "b:x", "a:x:deep"]
RULES = st.builds(
    Rule,
    st.sampled_from(list(Effect)),
    st.sampled_from([*ACTIONS, "a:*", "a:x:*", "*", "a:x*", ""]),
    st.sampled_from(["*", "o/1", "o/2", "o/*", "o/**", "**", "o*"]),
)
ROLES = st.lists(
    st.builds(
        lambda name, parents, rules: Role(name, tuple(parents), tuple(rules)),
        st.sampled_from(NAMES[:-1]),
        st.lists(st.sampled_from(NAMES), max_size=3),
        st.lists(RULES, max_size=4),
    ),
    max_size=5,
)


def action_matches(rule: Rule, action: str) -> bool:
    if rule.action in {"a:x*", ""}:
        return rule.effect is Effect.DENY
    if rule.action.endswith("*"):
        return action.startswith(rule.action[:-1])
    return action == rule.action


def resource_matches(rule: Rule, resource: str) -> bool:
    pattern = rule.resource
    if pattern == "o*":
        return rule.effect is Effect.DENY
    if pattern == "*":
        return True
    if pattern.endswith("**"):
        return len(resource) > len(pattern[:-2]) and resource.startswith(pattern[:-2])
    if pattern == "o/*":
        return resource.startswith("o/") and resource.count("/") == 1
    return resource == pattern


def reachable(graph: RoleGraph, held: set[str]) -> set[str]:
    known = {role.name for role in graph.roles}
    found: set[str] = set()
    waiting = held & known
    while waiting:
        found |= waiting
        waiting = {
            parent for role in graph.roles if role.name in waiting for parent in role.parents
        }
        waiting = (waiting & known) - found
    return found


@given(
    roles=ROLES,
    held=st.sets(st.sampled_from(NAMES), max_size=3),
    direct=st.lists(RULES, max_size=3),
    action=st.sampled_from(ACTIONS),
    resource=st.sampled_from(["", "o/1", "o/2", "o/1/2", "p"]),
)
def test_the_outcome_agrees_with_reading_every_rule(
    roles: list[Role], held: set[str], direct: list[Rule], action: str, resource: str
) -> None:
    graph = RoleGraph(version=1, tenant="acme", roles=tuple(roles))
    sets = (compile_roles(GraphIndex(graph), frozenset(held)), compile_rules(direct))
    names = reachable(graph, held)
    assert set(sets[0].roles) == names
    rules = direct + [rule for role in roles if role.name in names for rule in role.rules]
    effects = {
        rule.effect
        for rule in rules
        if action_matches(rule, action) and resource_matches(rule, resource)
    }
    expected = "deny" if Effect.DENY in effects else "allow" if effects else None
    origin = check(sets, action, resource)
    assert (origin.effect if origin else None) == expected
    if origin is not None:
        assert Rule(Effect(origin.effect), origin.action, origin.resource) in rules
        assert not origin.path or (origin.path[0] in held and set(origin.path) <= names)


@given(
    roles=ROLES,
    held=st.sets(st.sampled_from(NAMES), max_size=3),
    actions=st.lists(st.sampled_from(ACTIONS), max_size=6),
)
def test_what_was_decided_once_is_what_would_be_decided(
    roles: list[Role], held: set[str], actions: list[str]
) -> None:
    graph = RoleGraph(version=1, tenant="acme", roles=tuple(roles))
    compiled = compile_roles(GraphIndex(graph), frozenset(held))
    for action in (*actions, *actions):
        assert compiled.decide(action) == check((compiled,), action, "")


def test_few_decisions_are_kept() -> None:
    compiled = compile_rules([Rule(Effect.ALLOW, "a:*")])
    for number in range(100):
        found = compiled.decide(f"a:{number}")
        assert found is not None
        assert found.action == "a:*"
    assert len(compiled._decided) < 100  # how much it keeps cannot be asked


def graph_of(*roles: Role) -> GraphIndex:
    return GraphIndex(RoleGraph(version=1, tenant="acme", roles=roles))


def test_a_long_chain_of_roles_needs_no_recursion() -> None:
    chain = [Role(f"r{n}", (f"r{n + 1}",)) for n in range(2_000)]
    last = Role("r2000", (), (Rule(Effect.DENY, "a:x"),))
    compiled = compile_roles(graph_of(*chain, last), frozenset({"r0"}))
    origin = check((compiled,), "a:x", "")
    assert origin is not None
    assert len(origin.path) == 2_001


def test_a_name_that_came_twice_means_both() -> None:
    index = graph_of(
        Role("r", ("p",), (Rule(Effect.DENY, "a:x"),)),
        Role("r", (), (Rule(Effect.ALLOW, "*"),)),
        Role("p", (), (Rule(Effect.DENY, "a:y"),)),
    )
    compiled = compile_roles(index, frozenset({"r"}))
    effects = [check((compiled,), action, "") for action in ("a:x", "a:y", "a:z")]
    assert [each and each.effect for each in effects] == ["deny", "deny", "allow"]


def test_the_shortest_way_is_told() -> None:
    index = graph_of(
        Role("top", ("b", "a")),
        Role("a", ("leaf",)),
        Role("b", ("c",)),
        Role("c", ("leaf",)),
        Role("leaf", (), (Rule(Effect.ALLOW, "a:x"),)),
    )
    origin = check((compile_roles(index, frozenset({"top"})),), "a:x", "")
    assert origin is not None
    assert origin.path == ("top", "a", "leaf")


def test_an_origin_is_made_once() -> None:
    compiled = compile_rules([Rule(Effect.ALLOW, "a:x")])
    assert check((compiled,), "a:x", "") is check((compiled,), "a:x", "o/1")


def test_of_barring_sets_only_denials_hold() -> None:
    barring = compile_rules([Rule(Effect.ALLOW, "*"), Rule(Effect.DENY, "a:x")])
    denied = check((), "a:x", "", (barring,))
    assert denied is not None
    assert denied.effect == "deny"
    assert check((), "a:y", "", (barring,)) is None


@pytest.mark.parametrize("action", ["", "*", "a:*", "a b"])
def test_what_is_no_action_is_never_granted(action: str) -> None:
    assert check((compile_rules([Rule(Effect.ALLOW, "*")]),), action, "") is None
