"""Rules compiled for look-up: of the roles somebody holds, or granted directly.

Deny beats allow at any depth of inheritance. A rule that is malformed allows nothing; a malformed
*deny* holds as widely as its broken part could have meant: a wall with an error in its plan is
built across the whole street (PROMISES 1).

One `PermissionSet` serves everybody in a tenant who holds the same roles; the clauses within are
shared between the sets of one graph. So 500 sets of 80 permissions are 500 small dicts.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from sidecar.authorize.action import is_action_pattern, patterns_of
from sidecar.authorize.compilation import Steps, in_steps
from sidecar.authorize.resource import EVERYTHING, ResourceIndex, is_resource_pattern
from sidecar.model.decision import RuleOrigin
from sidecar.model.facts import Effect, RoleGraph, Rule, RuleGrant

_ALLOW: Final = str(Effect.ALLOW)
_DENY: Final = str(Effect.DENY)
# Of each set; an API may be asked for any action.
_MOST_DECIDED: Final = 32
# Before any end.
_ALWAYS: Final = -math.inf


class Clause(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A rule in the place it was written. `gc=False`: a full collection need not look at them.

    Attributes:
        rule: the rule.
        role: the role it belongs to; ``""`` for a rule granted directly.
        ends_at: wall-clock instant from which on the grant of the rule does not hold.
    """

    rule: Rule
    role: str = ""
    ends_at: float = math.inf


class Clauses:
    """The clauses of one effect, found by action and resource."""

    __slots__ = ("_anywhere", "_somewhere")

    def __init__(self) -> None:
        # By action pattern; most rules name no resource, so these two levels save memory.
        self._anywhere: dict[str, Clause] = {}
        self._somewhere: dict[str, ResourceIndex[Clause]] = {}

    def __bool__(self) -> bool:
        return bool(self._anywhere or self._somewhere)

    def add(self, clause: Clause, action: str, resource: str) -> None:
        """Add `clause` under well-formed patterns; of equal ones the one that ends last stays."""
        if resource == EVERYTHING:
            kept = self._anywhere.setdefault(action, clause)
            if kept.ends_at < clause.ends_at:
                self._anywhere[action] = clause
            return
        index = self._somewhere.get(action)
        if index is None:
            index = self._somewhere[action] = ResourceIndex()
        kept = index.setdefault(resource, clause)
        if kept.ends_at < clause.ends_at:
            index.replace(resource, clause)

    def find(
        self, patterns: tuple[str, ...], resource: str, wall: float = _ALWAYS
    ) -> Clause | None:
        """A clause whose action is one of `patterns` and whose resource matches `resource`.

        Args:
            patterns: of actions.
            resource: the resource, ``""`` for none in particular.
            wall: wall-clock instant at which its grant must not have ended.
        """
        anywhere = self._anywhere
        if anywhere:
            for pattern in patterns:
                if pattern in anywhere:
                    clause = anywhere[pattern]
                    if wall < clause.ends_at:
                        return clause
        if resource and self._somewhere:
            for pattern in patterns:
                index = self._somewhere.get(pattern)
                if index is not None:
                    found = index.find(resource)
                    if found is not None and found.ends_at <= wall:
                        found = _first_left(index.find_all(resource), wall)
                    if found is not None:
                        return found
        return None


def _first_left(clauses: Sequence[Clause], wall: float) -> Clause | None:
    return next((each for each in clauses if wall < each.ends_at), None)


class PermissionSet:
    """What a set of roles, or of direct rules, allows and denies.

    Attributes:
        roles: the names of all roles in it, inherited ones included, sorted.
        allow: the clauses that allow.
        deny: the clauses that deny.
    """

    __slots__ = ("_decided", "_origins", "_paths", "allow", "deny", "roles")

    def __init__(self, paths: dict[str, tuple[str, ...]]) -> None:
        """An empty set.

        Args:
            paths: role -> the roles through which it is held, itself the last.
        """
        self.roles = tuple(sorted(paths))
        self.allow = Clauses()
        self.deny = Clauses()
        self._paths = paths
        self._origins: dict[Clause, RuleOrigin] = {}
        self._decided: dict[str, RuleOrigin | None] = {}

    def add(self, clause: Clause) -> None:
        """Add a clause by its rule's effect."""
        rule = clause.rule
        known_action = is_action_pattern(rule.action)
        known_resource = is_resource_pattern(rule.resource)
        if rule.effect is not Effect.ALLOW:
            self.deny.add(
                clause,
                rule.action if known_action else "*",
                rule.resource if known_resource else EVERYTHING,
            )
        elif known_action and known_resource:
            self.allow.add(clause, rule.action, rule.resource)

    def decide(self, action: str) -> RuleOrigin | None:
        """`check` of this set alone, once it is whole, for no resource in particular.

        What routes ask is asked again and again, so the answers to the first few actions are kept.
        Not for sets of grants that end.
        """
        if action in self._decided:
            return self._decided[action]
        decided = check((self,), action, "")
        if len(self._decided) < _MOST_DECIDED:
            self._decided[action] = decided
        return decided

    def origin(self, clause: Clause) -> RuleOrigin:
        """Where `clause` comes from, as told to people. Made once: at most one for each rule."""
        origin = self._origins.get(clause)
        if origin is None:
            rule = clause.rule
            effect = _ALLOW if rule.effect is Effect.ALLOW else _DENY
            path = self._paths.get(clause.role, ())
            origin = RuleOrigin(effect, rule.action, rule.resource, path)
            self._origins[clause] = origin
        return origin


class GraphIndex:
    """A role graph by name.

    Attributes:
        graph: the graph.
        parents: name -> names of the roles it inherits from.
    """

    __slots__ = ("_clauses", "_rules", "graph", "parents")

    def __init__(self, graph: RoleGraph) -> None:
        self.graph = graph
        self.parents: dict[str, tuple[str, ...]] = {}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._clauses: dict[str, tuple[Clause, ...]] = {}
        for role in graph.roles:
            # A name that came twice would mean both: taking one could lose a denial.
            self.parents[role.name] = self.parents.get(role.name, ()) + role.parents
            self._rules[role.name] = self._rules.get(role.name, ()) + role.rules

    def clauses(self, name: str) -> tuple[Clause, ...]:
        """The clauses of the role itself. Made when first asked for: most roles never are."""
        clauses = self._clauses.get(name)
        if clauses is None:
            clauses = tuple(Clause(rule, name) for rule in self._rules[name])
            self._clauses[name] = clauses
        return clauses


def compile_roles(index: GraphIndex, held: frozenset[str]) -> Steps[PermissionSet]:
    """Everything that holding the roles `held` means, inherited rules included.

    Unknown names are ignored, as parents too; a cycle ends where it began. Where a role is reached
    in several ways, its path is the shortest, of equals the first by name.
    """
    paths: dict[str, tuple[str, ...]] = {}
    level: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in sorted(held)]
    while level:
        following: list[tuple[str, tuple[str, ...]]] = []
        for some in in_steps(level):
            for name, path in some:
                parents = index.parents.get(name)
                if parents is None or name in paths:
                    continue
                paths[name] = path
                following += [(parent, (*path, parent)) for parent in sorted(parents)]
            yield len(some)
        level = following
    compiled = PermissionSet(paths)
    for name in paths:
        for clauses in in_steps(index.clauses(name)):
            for clause in clauses:
                compiled.add(clause)
            yield len(clauses)
    return compiled


def compile_rules(grants: Sequence[RuleGrant]) -> Steps[PermissionSet]:
    """Rules granted directly, also those that will end."""
    compiled = PermissionSet({})
    for some in in_steps(grants):
        for grant in some:
            ends_at = math.inf if grant.expires_at is None else grant.expires_at
            compiled.add(Clause(grant.rule, "", ends_at))
        yield len(some)
    return compiled


def check(
    sets: tuple[PermissionSet, ...],
    action: str,
    resource: str,
    barring: tuple[PermissionSet, ...] = (),
    wall: float = _ALWAYS,
) -> RuleOrigin | None:
    """Decide over several sets together.

    Args:
        sets: what holds.
        action: one action in full.
        resource: the resource, ``""`` for none in particular.
        barring: sets of which only the denials hold.
        wall: wall-clock instant: what ended by then does not count.

    Returns:
        The rule that decided, which may deny; None if no rule speaks of it.
    """
    patterns = patterns_of(action)
    if not patterns:
        return None
    for each in (*sets, *barring) if barring else sets:
        if each.deny:
            clause = each.deny.find(patterns, resource, wall)
            if clause is not None:
                return each.origin(clause)
    for each in sets:
        clause = each.allow.find(patterns, resource, wall)
        if clause is not None:
            return each.origin(clause)
    return None
