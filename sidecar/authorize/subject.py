"""Somebody with everything granted to them, compiled; and the questions that can be asked of it."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from sidecar.authorize.compilation import Steps, in_steps
from sidecar.authorize.ends import Ends
from sidecar.authorize.permissions import GraphIndex, PermissionSet, check, compile_rules
from sidecar.authorize.resource import EVERYTHING, ResourceIndex, is_resource_pattern
from sidecar.cache.leased import Vouch
from sidecar.model.decision import Principal, RuleOrigin
from sidecar.model.facts import Proof, RoleGraph, RuleGrant, User
from sidecar.model.need import Absent

# Roles held -> their permissions: `Authorizer` shares them between subjects.
SetOf = Callable[[frozenset[str]], Steps[PermissionSet]]

# Sets, each with the wall-clock instant from which on it does not hold, perhaps infinity.
_Ending = tuple[tuple[float, PermissionSet], ...]

# Each second in which something ended costs a step when the next request comes. Ten minutes of
# them take a millisecond.
_LONGEST_SECONDS: Final = 600.0
_NOTHING: Final[tuple[PermissionSet, ...]] = ()


class Subject:
    """Somebody, as one credential shows them, between two changes of their grants.

    Attributes:
        principal: who it is.
        fact: the session or token.
        user: the user, or `ABSENT` where an issuer vouches for it alone.
        graph: the roles of the tenant, or `ABSENT`.
        begins_at: wall-clock instant this was made for: what ended before is not in it, though it
            would hold again if the clock were put back.
        changes_at: wall-clock instant of the next grant to end: from then on this is out of date.
        ends_at: wall-clock end: that, or of the credential with its leeway.
        vouch: while it stands, `fact`, `user` and `graph` need not be looked up; None for never.
        vouched_at: wall-clock instant of the checks that `vouch` stands for.
    """

    __slots__ = (
        "_barring",
        "_has_only_roles",
        "_scopes",
        "_sets",
        "begins_at",
        "changes_at",
        "ends_at",
        "fact",
        "graph",
        "principal",
        "user",
        "vouch",
        "vouched_at",
    )

    def __init__(
        self,
        principal: Principal,
        fact: Proof,
        user: User | Absent,
        graph: RoleGraph | Absent,
        *,
        permissions: "Permissions",
        wall: float,
        leeway: float,
    ) -> None:
        self.principal = principal
        self.fact = fact
        self.user = user
        self.graph = graph
        self._sets = permissions.sets(wall)
        self._scopes = permissions.scopes
        self._barring = _holding(permissions.barring, wall)
        # The first are of the roles without an end.
        self._has_only_roles = len(self._sets) == 1 and not self._barring
        self.begins_at = wall
        self.changes_at = permissions.ends.after(wall)
        self.vouch: Vouch | None = None
        self.vouched_at = 0.0
        self.ends_at = min(fact.expires_at + leeway, self.changes_at)

    def check(self, action: str, resource: str = "") -> RuleOrigin | None:
        """The rule that decides about `action` on `resource`: it may deny. None: not granted."""
        sets = self._sets
        if not resource and self._has_only_roles:
            return sets[0].decide(action)
        if self._scopes is not None and resource:
            for scoped in self._scopes.find_all(resource):
                sets += _holding(scoped, self.begins_at)
        # Until `changes_at` what holds is the same.
        return check(sets, action, resource, self._barring, self.begins_at)

    def check_many(self, asked: Sequence[tuple[str, str]]) -> list[RuleOrigin | None]:
        """`check` for each (action, resource)."""
        return [self.check(action, resource) for action, resource in asked]


class Permissions:
    """What a user's grants come to, from one instant on: of those that end it knows when.

    So a grant that ends costs no compiling: of a hundred thousand, one may end each millisecond.

    Attributes:
        user: the user they are of, or `ABSENT`.
        index: the roles of the tenant.
        everywhere: sets that hold for every resource: that of the roles first, then of the rules.
        ending: those of roles that end, which hold for every resource till then.
        scopes: sets that hold where the resource matches; None if there are none.
        barring: sets of which only the denials hold.
        ends: when grants end.
    """

    __slots__ = (
        "_begins_at",
        "barring",
        "ending",
        "ends",
        "everywhere",
        "index",
        "scopes",
        "user",
    )

    def __init__(self, user: User | Absent, index: GraphIndex, now: float) -> None:
        self.user = user
        self.index = index
        self.everywhere = _NOTHING
        self.ending: _Ending = ()
        self.scopes: ResourceIndex[_Ending] | None = None
        self.barring: _Ending = ()
        self.ends = Ends()
        self._begins_at = now

    def serves(self, wall: float) -> bool:
        """Whether compiling at the wall-clock instant `wall` would come to the same.

        Not before it was compiled: then grants may hold of which it does not know. And not when so
        much has ended meanwhile that going through it would take as long.
        """
        begun = max(self._begins_at, self.ends.passed)
        return begun <= wall < self.ends.first + _LONGEST_SECONDS

    def sets(self, wall: float) -> tuple[PermissionSet, ...]:
        """Those that hold for every resource."""
        if not self.ending:
            return self.everywhere
        return (*self.everywhere, *_holding(self.ending, wall))

    def roles(self, wall: float) -> tuple[str, ...]:
        """Names of the roles held everywhere, sorted."""
        held = self.everywhere[0].roles
        ending = _holding(self.ending, wall)
        if not ending:
            return held
        return tuple(sorted({*held, *(name for each in ending for name in each.roles)}))


def compile_permissions(
    user: User | Absent, claimed: tuple[str, ...], index: GraphIndex, set_of: SetOf, now: float
) -> Steps[Permissions]:
    """Compile the grants that hold at `now`.

    Args:
        user: the user.
        claimed: roles a token's issuer asserts beside.
        index: the roles of the tenant.
        set_of: roles -> permissions.
        now: wall-clock instant.
    """
    made = Permissions(user, index, now)
    held = dict.fromkeys(claimed, math.inf)
    rules = _NOTHING
    if isinstance(user, User):
        scoped = _Scoped()
        for role_grants in in_steps(user.roles):
            for grant in role_grants:
                end = _end(grant.expires_at)
                # A role that there is not means nothing.
                if now < end and grant.role in index.parents:
                    made.ends.add(end)
                    if grant.resource == EVERYTHING:
                        held[grant.role] = max(end, held.get(grant.role, end))
                    else:
                        scoped.add(grant.role, grant.resource, end)
            yield len(role_grants)
        made.scopes = yield from scoped.compile(set_of)
        made.barring = yield from _compile_by_end(scoped.barring, set_of)
        direct: list[RuleGrant] = []
        for rule_grants in in_steps(user.rules):
            for each in rule_grants:
                end = _end(each.expires_at)
                if now < end:
                    made.ends.add(end)
                    direct.append(each)
            yield len(rule_grants)
        if direct:
            rules = ((yield from compile_rules(direct)),)
    for_ever = frozenset(role for role, end in held.items() if end == math.inf)
    ending = {role: end for role, end in held.items() if role not in for_ever}
    made.everywhere = ((yield from set_of(for_ever)), *rules)
    made.ending = yield from _compile_by_end(ending, set_of)
    return made


class _Scoped:
    """Roles granted on some resources only.

    Attributes:
        barring: roles granted on a malformed scope, with their ends: what they deny may have been
            meant for anything.
    """

    def __init__(self) -> None:
        # Tuples, because the collector leaves tuples of texts alone.
        self._roles: dict[str, tuple[str, ...]] = {}
        # Of scope and role; few end, most have no place here.
        self._ends: dict[tuple[str, str], float] = {}
        self.barring: dict[str, float] = {}

    def add(self, role: str, scope: str, end: float) -> None:
        if not is_resource_pattern(scope):
            self.barring[role] = max(end, self.barring.get(role, end))
            return
        roles = self._roles.get(scope, ())
        key = (scope, role)
        known = end if role not in roles else self._ends.get(key, math.inf)
        if role not in roles:
            self._roles[scope] = (*roles, role)
        if max(end, known) < math.inf:
            self._ends[key] = max(end, known)
        else:
            self._ends.pop(key, None)

    def compile(self, set_of: SetOf) -> Steps[ResourceIndex[_Ending] | None]:
        if not self._roles:
            return None
        index: ResourceIndex[_Ending] = ResourceIndex()
        # Scopes on which the same roles are held, none of them until a time, share their sets.
        compiled: dict[frozenset[str], _Ending] = {}
        for scopes in in_steps(list(self._roles)):
            for scope in scopes:
                roles = self._roles[scope]
                ends = {role: self._ends.get((scope, role), math.inf) for role in roles}
                if min(ends.values()) < math.inf:
                    sets = yield from _compile_by_end(ends, set_of)
                else:
                    held = frozenset(roles)
                    known = compiled.get(held)
                    sets = (yield from _compile_by_end(ends, set_of)) if known is None else known
                    compiled[held] = sets
                index.setdefault(scope, sets)
            yield len(scopes)
        return index


def _compile_by_end(ends: dict[str, float], set_of: SetOf) -> Steps[_Ending]:
    """Roles with their ends: one set for those that end together."""
    together: dict[float, list[str]] = {}
    for role, end in ends.items():
        together.setdefault(end, []).append(role)
    made: list[tuple[float, PermissionSet]] = []
    for end, roles in together.items():
        made.append((end, (yield from set_of(frozenset(roles)))))
    return tuple(made)


def _end(expires_at: float | None) -> float:
    return math.inf if expires_at is None else expires_at


def _holding(sets: _Ending, wall: float) -> tuple[PermissionSet, ...]:
    return tuple([each for end, each in sets if wall < end])
