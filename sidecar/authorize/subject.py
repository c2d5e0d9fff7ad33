"""Somebody with everything granted to them, compiled; and the questions that can be asked of it."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from sidecar.authorize.compilation import Steps, in_steps
from sidecar.authorize.permissions import GraphIndex, PermissionSet, check, compile_rules
from sidecar.authorize.resource import EVERYTHING, ResourceIndex, is_resource_pattern
from sidecar.cache.memory import Vouch
from sidecar.model.decision import Principal, RuleOrigin
from sidecar.model.facts import Proof, RoleGrant, RoleGraph, Rule, User
from sidecar.model.need import Absent

# Roles held -> their permissions: `Authorizer` shares them between subjects.
SetOf = Callable[[frozenset[str]], Steps[PermissionSet]]

_NOTHING: Final[tuple[PermissionSet, ...]] = ()


class Subject:
    """Somebody, as one credential shows them, between two changes of their grants.

    Attributes:
        principal: who it is.
        fact: the session or token.
        user: the user, or `ABSENT` where an issuer vouches for it alone.
        graph: the roles of the tenant, or `ABSENT`.
        ends_at: wall-clock end: of the credential with its leeway, or of the first grant to end.
        changes_at: wall-clock instant of that first grant: from then on this is out of date.
        vouch: while it stands, `fact`, `user` and `graph` need not be looked up; None for never.
        vouched_at: wall-clock instant of the checks that `vouch` stands for.
    """

    __slots__ = (
        "_barring",
        "_scopes",
        "_sets",
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
        leeway: float,
    ) -> None:
        self.principal = principal
        self.fact = fact
        self.user = user
        self.graph = graph
        self._sets = permissions.everywhere
        self._scopes = permissions.scopes
        self._barring = permissions.barring
        self.changes_at = permissions.changes_at
        self.vouch: Vouch | None = None
        self.vouched_at = 0.0
        self.ends_at = min(fact.expires_at + leeway, permissions.changes_at)

    def check(self, action: str, resource: str = "") -> RuleOrigin | None:
        """The rule that decides about `action` on `resource`: it may deny. None: not granted."""
        sets = self._sets
        if self._scopes is not None and resource:
            for scoped in self._scopes.find_all(resource):
                sets += scoped
        return check(sets, action, resource, self._barring)

    def check_many(self, asked: Sequence[tuple[str, str]]) -> list[RuleOrigin | None]:
        """`check` for each (action, resource)."""
        return [self.check(action, resource) for action, resource in asked]


class Permissions:
    """What a user's grants come to at one instant.

    Attributes:
        user: the user they are of, or `ABSENT`.
        index: the roles of the tenant.
        roles: names of the roles held everywhere, sorted.
        everywhere: sets that hold for every resource.
        scopes: sets that hold where the resource matches; None if there are none.
        barring: sets of which only the denials hold.
        changes_at: wall-clock instant at which the first of the grants ends, or infinity.
    """

    __slots__ = ("barring", "changes_at", "everywhere", "index", "roles", "scopes", "user")

    def __init__(self, user: User | Absent, index: GraphIndex) -> None:
        self.user = user
        self.index = index
        self.roles: tuple[str, ...] = ()
        self.everywhere = _NOTHING
        self.scopes: ResourceIndex[tuple[PermissionSet, ...]] | None = None
        self.barring = _NOTHING
        self.changes_at = math.inf


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
    made = Permissions(user, index)
    held = set(claimed)
    rules = _NOTHING
    if isinstance(user, User):
        scoped = _Scoped()
        for role_grants in in_steps(user.roles):
            for grant in role_grants:
                if _holds(grant.expires_at, made, now):
                    if grant.resource == EVERYTHING:
                        held.add(grant.role)
                    else:
                        scoped.add(grant)
            yield len(role_grants)
        made.scopes = yield from scoped.compile(set_of)
        if scoped.barring:
            made.barring = ((yield from set_of(frozenset(scoped.barring))),)
        direct: list[Rule] = []
        for rule_grants in in_steps(user.rules):
            direct += [each.rule for each in rule_grants if _holds(each.expires_at, made, now)]
            yield len(rule_grants)
        if direct:
            rules = ((yield from compile_rules(direct)),)
    shared = yield from set_of(frozenset(held))
    made.roles = shared.roles
    made.everywhere = (shared, *rules)
    return made


class _Scoped:
    """Roles granted on some resources only.

    Attributes:
        barring: roles granted on a malformed scope: what they deny may have been meant for
            anything.
    """

    def __init__(self) -> None:
        # Tuples, because the collector leaves tuples of texts alone.
        self._roles: dict[str, tuple[str, ...]] = {}
        self.barring: set[str] = set()

    def add(self, grant: RoleGrant) -> None:
        if is_resource_pattern(grant.resource):
            self._roles[grant.resource] = (*self._roles.get(grant.resource, ()), grant.role)
        else:
            self.barring.add(grant.role)

    def compile(self, set_of: SetOf) -> Steps[ResourceIndex[tuple[PermissionSet, ...]] | None]:
        if not self._roles:
            return None
        index: ResourceIndex[tuple[PermissionSet, ...]] = ResourceIndex()
        compiled: dict[frozenset[str], tuple[PermissionSet, ...]] = {}
        for scopes in in_steps(list(self._roles)):
            for scope in scopes:
                held = frozenset(self._roles[scope])
                sets = compiled.get(held)
                if sets is None:
                    sets = compiled[held] = ((yield from set_of(held)),)
                index.setdefault(scope, sets)
            yield len(scopes)
        return index


def _holds(expires_at: float | None, made: Permissions, now: float) -> bool:
    """Whether a grant holds at `now`; what is made of it changes when it ends."""
    if expires_at is None:
        return True
    if now >= expires_at:
        return False
    made.changes_at = min(made.changes_at, expires_at)
    return True
