"""Turns a principal and a route into a `Permit` or a `Denial`, and remembers what it compiled."""

import math
from typing import Final, TypeGuard

from sidecar.authorize.compilation import SLICE, STEP, Compilation, Steps
from sidecar.authorize.permissions import GraphIndex, PermissionSet, compile_roles
from sidecar.authorize.permit import SEAL, Permit
from sidecar.authorize.principal import IdentityFields, principal_of
from sidecar.authorize.subject import Permissions, Subject, compile_permissions
from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.decision import Denial, RuleOrigin, Work
from sidecar.model.facts import Effect, Proof, RoleGraph, User, VerifiedToken
from sidecar.model.need import Absent
from sidecar.model.reason import Reason
from sidecar.model.route import Access, RouteMatch
from sidecar.settings.schema import Cache

_DENY: Final = str(Effect.DENY)
# Above that many grants, a user's sessions and tokens share what is compiled from them; a hundred
# thousand take 75 ms and 6 MB. Below, compiling costs less than keeping.
_FEW_GRANTS: Final = 16
# Users being compiled at the same time. Of more the oldest is no longer shared.
_MOST_UNDER_WAY: Final = 64

# Tenant, subject, roles claimed by a token: what permissions depend on, beside the facts.
_Grantee = tuple[str, str, tuple[str, ...]]


class Authorizer:
    """Authorizes. What it remembers is only ever used with the very facts it was made from.

    Therefore it needs no invalidation: another session, user or graph object is another input.
    """

    __slots__ = (
        "_fields",
        "_graphs",
        "_memo",
        "_permissions_of",
        "_sets",
        "_subjects",
        "_under_way",
    )

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
        self._permissions_of: S3Fifo[_Grantee, Permissions] = S3Fifo(sizes.role_sets)
        self._under_way: dict[
            _Grantee, tuple[User | Absent, GraphIndex, Compilation[Permissions]]
        ] = {}
        self._sets: S3Fifo[
            tuple[str, frozenset[str]], tuple[GraphIndex, Compilation[PermissionSet]]
        ] = S3Fifo(sizes.role_sets)

    def flush(self) -> None:
        """Forget what was compiled, to give the memory back."""
        self._subjects.clear()
        self._permissions_of.clear()
        self._under_way.clear()
        self._graphs.clear()
        self._sets.clear()

    def known(self, key: bytes) -> Subject | None:
        """The subject compiled last for this credential; whether it may be used is not said."""
        return self._subjects.get(key)

    def subject(
        self,
        key: bytes,
        fact: Proof,
        user: User | Absent,
        graph: RoleGraph | Absent,
        wall: float,
        leeway: float = 0.0,
        done: Work | None = None,
    ) -> Subject | Compilation[Permissions]:
        """The subject of a credential, compiled or remembered.

        Args:
            key: digest of the credential.
            fact: its session or token, checked by the caller.
            user: its user; `ABSENT` has only the roles the token claims.
            graph: the roles of its tenant; `ABSENT` has none.
            wall: wall-clock instant.
            leeway: seconds by which the credential outlives its expiry.
            done: what an earlier call with these facts gave, once it is over.

        Returns:
            The subject; or, where compiling it takes more than a slice, what is left of that.
        """
        known = self._subjects.get(key)
        if (
            known is not None
            and known.fact is fact
            and known.user is user
            and known.graph is graph
            and known.begins_at <= wall < known.changes_at
        ):
            return known
        roles = RoleGraph(version=0, tenant=fact.tenant) if isinstance(graph, Absent) else graph
        permissions = self._permissions(fact, user, self._index(roles), wall, done)
        if isinstance(permissions, Compilation):
            return permissions
        held = permissions.roles(wall)
        principal = principal_of(fact, held, self._fields.render(fact.tenant, fact.subject, held))
        subject = Subject(
            principal, fact, user, graph, permissions=permissions, wall=wall, leeway=leeway
        )
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
            subject,
        )

    def recalled(self, permit: Permit, ends_at: float) -> Permit:
        """`permit`, marked as given on facts of a while ago (R9).

        Args:
            permit: what those facts give.
            ends_at: wall-clock instant at which they are too old for the route.
        """
        return Permit(
            SEAL,
            permit.route,
            permit.principal,
            Reason.LAST_KNOWN_GOOD,
            permit.origin,
            permit.resource,
            permit.parameters,
            min(permit.expires_at, ends_at),
            permit.subject,
        )

    def admit(self, match: RouteMatch, resource: str = "") -> Permit | Denial:
        """Permit a public route to anybody; any other is refused."""
        route = match.route
        if route.access is not Access.PUBLIC:
            return Denial(Reason.NO_CREDENTIAL, "the route is not public", route=route)
        return Permit(SEAL, route, None, Reason.PUBLIC, None, resource, match.parameters, math.inf)

    def preflight(self, match: RouteMatch) -> Permit | Denial:
        """Permit anybody to ask what pages of other sites may do with a route, where it says so.

        Args:
            match: of the method that is asked for. Nothing but the question is permitted.
        """
        route = match.route
        if route.cors is None and not route.forwards_preflights:
            return Denial(Reason.NO_CREDENTIAL, "the route answers no preflights", route=route)
        return Permit(SEAL, route, None, Reason.PREFLIGHT, None, "", match.parameters, math.inf)

    def _permissions(
        self,
        fact: Proof,
        user: User | Absent,
        index: GraphIndex,
        wall: float,
        done: Work | None,
    ) -> Permissions | Compilation[Permissions]:
        """Compiled for this credential, or shared with the user's others where that is dear.

        What is too much for the moment is told of as what it is: something to go on with.
        """
        claimed = fact.roles if isinstance(fact, VerifiedToken) else ()
        key = (fact.tenant, fact.subject, claimed)
        if isinstance(done, Compilation) and _fits(done.made, user, index, wall):
            return self._keep(key, done.made)
        if _is_dear(user) and self._memo:
            shared = self._permissions_of.get(key)
            if _fits(shared, user, index, wall):
                return shared
        under_way = self._under_way.get(key)
        if under_way is not None:
            of_user, of_index, work = under_way
            if _fits(work.made, user, index, wall):
                return self._keep(key, work.made)
            if not work.is_over and of_index is index and (of_user is user or of_user == user):
                return work
        work = Compilation(
            compile_permissions(user, claimed, index, lambda held: self._set(index, held), wall)
        )
        # Who comes while others are being compiled gets less of the moment: they may be many.
        work.advance(STEP if self._under_way else SLICE)
        if work.made is not None:
            return self._keep(key, work.made)
        if len(self._under_way) >= _MOST_UNDER_WAY:
            del self._under_way[next(iter(self._under_way))]
        self._under_way[key] = (user, index, work)
        return work

    def _keep(self, key: _Grantee, made: Permissions) -> Permissions:
        self._under_way.pop(key, None)
        if self._memo and _is_dear(made.user):
            self._permissions_of.put(key, made)
        return made

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

    def _set(self, index: GraphIndex, held: frozenset[str]) -> Steps[PermissionSet]:
        """Roles compiled, once for all who hold them, also while it is under way."""
        key = (index.graph.tenant, held)
        known = self._sets.get(key)
        if known is None or known[0] is not index or _broke_off(known[1]):
            known = (index, Compilation(compile_roles(index, held)))
            self._sets.put(key, known)
        compiled = known[1]
        while not compiled.is_over:
            yield compiled.step()
        if compiled.made is None:
            raise RuntimeError("compiling roles broke off")
        return compiled.made


def _broke_off(compiled: Compilation[PermissionSet]) -> bool:
    return compiled.is_over and compiled.made is None


def _is_dear(user: User | Absent) -> bool:
    return isinstance(user, User) and len(user.roles) + len(user.rules) > _FEW_GRANTS


def _fits(
    made: Permissions | None, user: User | Absent, index: GraphIndex, wall: float
) -> TypeGuard[Permissions]:
    """Whether this comes to what compiling now would make.

    Users are compared whole as well: without a lease each request loads its own.
    """
    if made is None or made.index is not index or not made.serves(wall):
        return False
    if made.user is not user:
        if made.user != user:
            return False
        made.user = user
    return True


def _denied(match: RouteMatch, subject: Subject, origin: RuleOrigin) -> Denial:
    return Denial(
        Reason.DENIED_BY_RULE,
        f"a rule denies {origin.action} on {origin.resource}",
        route=match.route,
        principal=subject.principal,
        origin=origin,
    )
