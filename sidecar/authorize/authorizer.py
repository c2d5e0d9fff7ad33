"""Turns a principal and a route into a `Permit` or a `Denial`, and remembers what it compiled."""

import math
from typing import Final

from sidecar.authorize.permissions import GraphIndex, PermissionSet, compile_roles
from sidecar.authorize.permit import SEAL, Permit
from sidecar.authorize.principal import IdentityFields, principal_of
from sidecar.authorize.subject import Permissions, Subject
from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.decision import Denial, RuleOrigin
from sidecar.model.facts import Effect, RoleGraph, Session, User, VerifiedToken
from sidecar.model.need import Absent
from sidecar.model.reason import Reason
from sidecar.model.route import Access, RouteMatch
from sidecar.settings.schema import Cache

_DENY: Final = str(Effect.DENY)
# Above that many grants, a user's sessions and tokens share what is compiled from them; a hundred
# thousand take 75 ms and 6 MB. Below, compiling costs less than keeping.
_FEW_GRANTS: Final = 16


class Authorizer:
    """Authorizes. What it remembers is only ever used with the very facts it was made from.

    Therefore it needs no invalidation: another session, user or graph object is another input.
    """

    __slots__ = ("_fields", "_graphs", "_memo", "_permissions_of", "_sets", "_subjects")

    def __init__(self, sizes: Cache, fields: IdentityFields, *, memo: bool = True) -> None:
        """Make one that remembers nothing yet.

        Args:
            sizes: how much it remembers.
            fields: renders identity fields.
            memo: whether compiled subjects are remembered (feature ``decision_memo``).
        """
        self._fields = fields
        self._memo = memo
        self._subjects: S3Fifo[bytes, Subject] = S3Fifo(sizes.users)
        self._graphs: S3Fifo[str, GraphIndex] = S3Fifo(sizes.role_graphs)
        self._permissions_of: S3Fifo[
            tuple[str, str, tuple[str, ...]], tuple[User | Absent, GraphIndex, Permissions]
        ] = S3Fifo(sizes.role_sets)
        self._sets: S3Fifo[tuple[str, frozenset[str]], tuple[GraphIndex, PermissionSet]] = S3Fifo(
            sizes.role_sets
        )

    def flush(self) -> None:
        """Forget what was compiled, to give the memory back."""
        self._subjects.clear()
        self._permissions_of.clear()
        self._graphs.clear()
        self._sets.clear()

    def subject(
        self,
        key: bytes,
        fact: Session | VerifiedToken,
        user: User | Absent,
        graph: RoleGraph | Absent,
        wall: float,
        leeway: float = 0.0,
    ) -> Subject:
        """The subject of a credential, compiled or remembered.

        Args:
            key: digest of the credential.
            fact: its session or token, checked by the caller.
            user: its user; `ABSENT` has only the roles the token claims.
            graph: the roles of its tenant; `ABSENT` has none.
            wall: wall-clock instant.
            leeway: seconds by which the credential outlives its expiry.
        """
        known = self._subjects.get(key)
        if (
            known is not None
            and known.fact is fact
            and known.user is user
            and known.graph is graph
            and wall < known.changes_at
        ):
            return known
        subject = self._compile(fact, user, graph, wall, leeway)
        if self._memo:
            self._subjects.put(key, subject)
        return subject

    def authorize(self, match: RouteMatch, resource: str, subject: Subject) -> Permit | Denial:
        """Decide about a route for a subject that is valid now (`subject`)."""
        route = match.route
        if route.access is Access.PERMISSION:
            origin = subject.check(route.action, resource)
            if origin is None:
                return Denial(
                    Reason.NOT_GRANTED,
                    f"no rule allows {route.action} on {resource or 'no resource in particular'}",
                    route=route,
                    principal=subject.principal,
                )
            if origin.effect == _DENY:
                return _denied(match, subject, origin)
            reason = Reason.GRANTED
        elif route.access is Access.AUTHENTICATED:
            origin, reason = None, Reason.AUTHENTICATED
        else:
            return self.admit(match, resource)
        return Permit(
            SEAL,
            route,
            subject.principal,
            reason,
            origin,
            resource,
            match.parameters,
            subject.ends_at,
        )

    def admit(self, match: RouteMatch, resource: str = "") -> Permit | Denial:
        """Permit a public route to anybody; any other is refused."""
        route = match.route
        if route.access is not Access.PUBLIC:
            return Denial(Reason.NO_CREDENTIAL, "the route is not public", route=route)
        return Permit(SEAL, route, None, Reason.PUBLIC, None, resource, match.parameters, math.inf)

    def _compile(
        self,
        fact: Session | VerifiedToken,
        user: User | Absent,
        graph: RoleGraph | Absent,
        wall: float,
        leeway: float,
    ) -> Subject:
        known = RoleGraph(version=0, tenant=fact.tenant) if isinstance(graph, Absent) else graph
        index = self._index(known)
        permissions = self._permissions(fact, user, index, wall)
        identity = self._fields.render(fact.tenant, fact.subject, permissions.roles)
        principal = principal_of(fact, permissions.roles, identity)
        return Subject(principal, fact, user, graph, permissions=permissions, leeway=leeway)

    def _permissions(
        self, fact: Session | VerifiedToken, user: User | Absent, index: GraphIndex, wall: float
    ) -> Permissions:
        """Compiled for this credential, or shared with the user's others where that is dear."""
        claimed = fact.roles if isinstance(fact, VerifiedToken) else ()
        dear = isinstance(user, User) and len(user.roles) + len(user.rules) > _FEW_GRANTS
        if not dear or not self._memo:
            return Permissions(user, claimed, lambda held: self._set(index, held), wall)
        key = (fact.tenant, fact.subject, claimed)
        known = self._permissions_of.get(key)
        if known is not None:
            of_user, of_index, permissions = known
            if of_user is user and of_index is index and wall < permissions.changes_at:
                return permissions
        permissions = Permissions(user, claimed, lambda held: self._set(index, held), wall)
        self._permissions_of.put(key, (user, index, permissions))
        return permissions

    def _index(self, graph: RoleGraph) -> GraphIndex:
        """Equal graphs, loaded twice, share what is compiled from them.

        Compared whole, not by version: after a restore of the database, versions come again.
        """
        index = self._graphs.get(graph.tenant)
        if index is not None and (index.graph is graph or index.graph == graph):
            # The next comparison is by identity: comparing a large graph takes milliseconds.
            index.graph = graph
            return index
        index = GraphIndex(graph)
        self._graphs.put(graph.tenant, index)
        return index

    def _set(self, index: GraphIndex, held: frozenset[str]) -> PermissionSet:
        key = (index.graph.tenant, held)
        known = self._sets.get(key)
        if known is not None and known[0] is index:
            return known[1]
        compiled = compile_roles(index, held)
        self._sets.put(key, (index, compiled))
        return compiled


def _denied(match: RouteMatch, subject: Subject, origin: RuleOrigin) -> Denial:
    return Denial(
        Reason.DENIED_BY_RULE,
        f"a rule denies {origin.action} on {origin.resource}",
        route=match.route,
        principal=subject.principal,
        origin=origin,
    )
