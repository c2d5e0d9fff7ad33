"""Somebody with everything granted to them, compiled; and the questions that can be asked of it."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sidecar.authorize.permissions import PermissionSet, check, compile_rules
from sidecar.authorize.resource import EVERYTHING, ResourceIndex, is_resource_pattern
from sidecar.model.decision import Principal, RuleOrigin
from sidecar.model.facts import RoleGrant, RoleGraph, Session, User, VerifiedToken
from sidecar.model.need import Absent

# Roles held -> their permissions: `Authorizer` shares them between subjects.
SetOf = Callable[[frozenset[str]], PermissionSet]

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
    )

    def __init__(
        self,
        principal: Principal,
        fact: Session | VerifiedToken,
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
        everywhere: sets that hold for every resource.
        scopes: sets that hold where the resource matches; None if there are none.
        barring: sets of which only the denials hold.
        changes_at: wall-clock instant at which the first of the grants ends, or infinity.
    """

    __slots__ = ("barring", "changes_at", "everywhere", "roles", "scopes")

    def __init__(
        self, user: User | Absent, claimed: tuple[str, ...], set_of: SetOf, now: float
    ) -> None:
        """Compile the grants that hold at `now`.

        Args:
            user: the user.
            claimed: roles a token's issuer asserts beside.
            set_of: roles -> permissions.
            now: wall-clock instant.
        """
        role_grants: list[RoleGrant] = []
        rules = _NOTHING
        self.changes_at = math.inf
        if isinstance(user, User):
            role_grants = [grant for grant in user.roles if _holds(grant.expires_at, now)]
            rule_grants = [grant for grant in user.rules if _holds(grant.expires_at, now)]
            if rule_grants:
                rules = (compile_rules(grant.rule for grant in rule_grants),)
            ends = [grant.expires_at for grant in role_grants]
            ends += [grant.expires_at for grant in rule_grants]
            self.changes_at = min((end for end in ends if end is not None), default=math.inf)
        held = {grant.role for grant in role_grants if grant.resource == EVERYTHING}
        shared = set_of(frozenset(held.union(claimed)))
        self.roles = shared.roles
        self.everywhere = (shared, *rules)
        scoped = [grant for grant in role_grants if grant.resource != EVERYTHING]
        self.barring = _barring(scoped, set_of)
        self.scopes = _scopes(scoped, set_of)


def _scopes(
    grants: Iterable[RoleGrant], set_of: SetOf
) -> ResourceIndex[tuple[PermissionSet, ...]] | None:
    by_scope: dict[str, list[str]] = {}
    for grant in grants:
        if is_resource_pattern(grant.resource):
            by_scope.setdefault(grant.resource, []).append(grant.role)
    if not by_scope:
        return None
    index: ResourceIndex[tuple[PermissionSet, ...]] = ResourceIndex()
    compiled: dict[frozenset[str], tuple[PermissionSet, ...]] = {}
    for scope, roles in by_scope.items():
        held = frozenset(roles)
        sets = compiled.get(held)
        if sets is None:
            sets = compiled[held] = (set_of(held),)
        index.setdefault(scope, sets)
    return index


def _barring(grants: Iterable[RoleGrant], set_of: SetOf) -> tuple[PermissionSet, ...]:
    """Roles granted on a malformed scope: what they deny may have been meant for anything."""
    roles = frozenset(grant.role for grant in grants if not is_resource_pattern(grant.resource))
    return (set_of(roles),) if roles else ()


def _holds(expires_at: float | None, now: float) -> bool:
    return expires_at is None or now < expires_at
