"""The decision as one plain function: head in, `Permit` or `Denial` out, or what is missing.

Nothing here waits, and nothing is remembered but in the snapshot. What the shell loads for a
`Missing` it hands in as `loaded` and asks again; so with every cache off the answers are the same.
Work that is left (`Missing.work`) it does in slices, and hands in as `done`.

An exception in here is a bug. It is not caught here: the pipeline answers it with
`INTERNAL_ERROR`, which is a refusal.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from sidecar.authenticate.claims import check_time
from sidecar.authenticate.credential import CredentialRules
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.compilation import Compilation
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import principal_of
from sidecar.authorize.subject import Permissions, Subject
from sidecar.cache.memory import Memory
from sidecar.model.certificate import ClientCertificate
from sidecar.model.decision import Denial, Missing, Principal, Work
from sidecar.model.facts import (
    Proof,
    RoleGraph,
    Session,
    Status,
    User,
    VerifiedCertificate,
    VerifiedToken,
)
from sidecar.model.head import RequestHead
from sidecar.model.need import (
    ABSENT,
    Absent,
    Found,
    Need,
    RolesNeed,
    SessionNeed,
    TokenNeed,
    UserNeed,
)
from sidecar.model.reason import Reason
from sidecar.model.route import Access, Evidence, Route
from sidecar.route.table import RouteTable, resource_of
from sidecar.route.websocket import refuse_handshake

Loaded = Mapping[Need, Found | Denial]
EMPTY: Final[Loaded] = MappingProxyType({})
# Loading and deciding again: the credential, then user and role graph, and again after changes in
# between. Beyond, it is a bug.
MOST_ROUNDS: Final = 6


class Snapshot:
    """All a decision reads. Made by the assembly, replaced as a whole when settings change.

    Attributes:
        routes: the table.
        credentials: which credentials are accepted.
        memory: the first cache level.
        authorizer: grants, compiled.
        leeways: by `iss` of the configured issuers, the seconds their clocks may differ.
    """

    __slots__ = ("authorizer", "credentials", "leeways", "memory", "routes")

    def __init__(
        self,
        *,
        routes: RouteTable,
        credentials: CredentialRules,
        memory: Memory,
        authorizer: Authorizer,
        leeways: Mapping[str, float],
    ) -> None:
        self.routes = routes
        self.credentials = credentials
        self.memory = memory
        self.authorizer = authorizer
        self.leeways = leeways


def decide(
    head: RequestHead,
    wall: float,
    instant: float,
    snapshot: Snapshot,
    loaded: "Loaded | _Recollection" = EMPTY,
    done: Work | None = None,
    certificate: ClientCertificate | None = None,
    scheme: str = "",
) -> Permit | Denial | Missing:
    """Decide about one request.

    Args:
        head: the request.
        wall: wall-clock instant, against which expiries are held.
        instant: monotonic instant, against which the lease and the age of memory are held.
        snapshot: what decisions read.
        loaded: what the shell has loaded for this request; goes before memory.
        done: the work that was missing, once it is over.
        certificate: of the client's connection; counts where the route asks for one.
        scheme: ``http`` or ``https``, as the client used it; matters for handshakes.

    Returns:
        A `Permit`; a `Denial`, with the route and the principal as far as they are known; or
        `Missing` with all that is known to be needed, never naming what `loaded` has.
    """
    match = snapshot.routes.match(head.host, head.method, head.path)
    if isinstance(match, Denial):
        return match
    route = match.route
    if head.upgrade is not None:
        ambient = route.access is not Access.PUBLIC and snapshot.credentials.is_ambient(
            head, route.credential, certificate
        )
        refused = refuse_handshake(head, route, scheme, ambient=ambient)
        if refused is not None:
            return refused
    if route.access is Access.PUBLIC:
        return snapshot.authorizer.admit(match, resource_of(match))
    credential: SessionNeed | TokenNeed | VerifiedCertificate | Denial
    if route.credential is Evidence.TOKEN:
        credential = snapshot.credentials.find(head)
    else:
        credential = snapshot.credentials.find_by(route.credential, head, certificate, wall)
    if isinstance(credential, Denial):
        return replace(credential, route=route)
    subject: Subject | Denial | Missing | Compilation[Permissions]
    if loaded or isinstance(credential, VerifiedCertificate):
        facts = _overlaid(loaded, snapshot.memory) if loaded else snapshot.memory
        subject = _recognize(credential, route, wall, instant, facts, snapshot, done)
    else:
        # Mostly nothing was loaded: then memory is asked directly.
        memory = snapshot.memory
        known = snapshot.authorizer.known(credential[0])
        if (
            known is not None
            # From its second use on memory vouches that nothing a credential depends on was
            # forgotten or replaced; what depends on a clock is compared here.
            and known.vouch is not None
            and known.vouched_at <= wall < known.ends_at
            and memory.stands(known.vouch, instant)
        ):
            subject = known
        else:
            subject = _recognize(credential, route, wall, instant, memory, snapshot, done)
            if known is not None and subject is known:
                _vouch(known, credential, wall, instant, memory)
    if not isinstance(subject, Subject):
        return Missing((), subject) if isinstance(subject, Compilation) else subject
    if (route.audiences or route.scopes) and isinstance(subject.fact, VerifiedToken):
        refused = _check_requirements(subject.fact, subject.principal, route)
        if refused is not None:
            return refused
    resource = "" if route.resource is None else resource_of(match)
    return snapshot.authorizer.authorize(match, resource, subject)


def decide_without_stores(
    head: RequestHead,
    wall: float,
    instant: float,
    snapshot: Snapshot,
    loaded: Loaded = EMPTY,
    done: Work | None = None,
    certificate: ClientCertificate | None = None,
    scheme: str = "",
) -> Permit | Missing | None:
    """Decide once more when no store answers, where the route opts into last-known-good (R9).

    Facts count that could be used at most `Route.last_known_good_seconds` ago; those that were
    dropped by an invalidation are gone. Whatever is checked on fresh facts is checked on them.

    Args:
        head: the request.
        wall: wall-clock instant.
        instant: monotonic instant.
        snapshot: what decisions read.
        loaded: what could be loaded for this request before the stores failed; goes before memory.
        done: the work that was missing, once it is over.
        certificate: of the client's connection.
        scheme: as of `decide`.

    Returns:
        A `Permit`, its reason `LAST_KNOWN_GOOD` where any fact was of a while ago; `Missing` with
        work to be done; None for a refusal. Old facts refuse nobody: whoever they do not permit
        gets 503, because a store might say otherwise (PROMISES 18).
    """
    match = snapshot.routes.match(head.host, head.method, head.path)
    if isinstance(match, Denial) or not match.route.last_known_good_seconds:
        return None
    within = match.route.last_known_good_seconds
    facts = _Recollection(loaded, snapshot.memory, within)
    outcome = decide(head, wall, instant, snapshot, facts, done, certificate, scheme)
    if isinstance(outcome, Missing):
        return None if outcome.work is None else outcome
    if isinstance(outcome, Denial):
        return None
    if facts.ended is None:
        return outcome
    return snapshot.authorizer.recalled(outcome, wall + (facts.ended + within - instant))


class _Overlay:
    """What was loaded for this request, before memory."""

    __slots__ = ("_loaded", "_memory")

    def __init__(self, loaded: Loaded, memory: Memory) -> None:
        self._loaded = loaded
        self._memory = memory

    def find(self, need: Need, now: float) -> Found | Denial | None:
        found = self._loaded.get(need)
        return self._memory.find(need, now) if found is None else found


def _overlaid(loaded: "Loaded | _Recollection", memory: Memory) -> _Overlay:
    return loaded if isinstance(loaded, _Recollection) else _Overlay(loaded, memory)


class _Recollection(_Overlay):
    """The same, and behind it what memory may not be asked for any more.

    Attributes:
        ended: the earliest instant at which a fact that was given could last be used; None while
            all that was given may be used now.
    """

    __slots__ = ("_within", "ended")

    def __init__(self, loaded: Loaded, memory: Memory, within: float) -> None:
        super().__init__(loaded, memory)
        self._within = within
        self.ended: float | None = None

    def find(self, need: Need, now: float) -> Found | Denial | None:
        found = super().find(need, now)
        if found is not None:
            return found
        recalled = self._memory.recall(need, now, self._within)
        if recalled is None:
            return None
        self.ended = recalled.ended if self.ended is None else min(self.ended, recalled.ended)
        return recalled.fact


def _vouch(
    known: Subject, credential: SessionNeed | TokenNeed, wall: float, instant: float, memory: Memory
) -> None:
    """`known` was just recognized once more, from memory alone."""
    fact = known.fact
    needs = credential, UserNeed(fact.tenant, fact.subject), RolesNeed(fact.tenant)
    known.vouch = memory.vouch(needs, instant)
    known.vouched_at = wall


def _recognize(
    credential: SessionNeed | TokenNeed | VerifiedCertificate,
    route: Route,
    wall: float,
    instant: float,
    facts: Memory | _Overlay,
    snapshot: Snapshot,
    done: Work | None,
) -> Subject | Denial | Missing | Compilation[Permissions]:
    """Who presents `credential`, if it and its user are valid now."""
    fact: Found | Denial | VerifiedCertificate | None
    if isinstance(credential, VerifiedCertificate):
        fact = credential
    else:
        fact = facts.find(credential, instant)
        if fact is None:
            return Missing((credential,))
    leeway = 0.0
    refused: Denial | None = None
    if isinstance(fact, Session):
        refused = _check_session(fact, wall)
    elif isinstance(fact, VerifiedToken):
        leeway = snapshot.leeways.get(fact.issuer, -1.0)
        refused = _check_token(fact, wall, leeway)
    elif not isinstance(fact, VerifiedCertificate):
        return _refuse_unknown(fact, route)
    if refused is not None:
        return replace(refused, route=route, principal=principal_of(fact))

    user_need = UserNeed(fact.tenant, fact.subject)
    user = facts.find(user_need, instant)
    if user is not None:
        refused = _check_user(user, fact)
        if refused is not None:
            return replace(refused, route=route, principal=principal_of(fact))
    roles_need = RolesNeed(fact.tenant)
    graph = facts.find(roles_need, instant)
    if user is None or graph is None:
        needs: tuple[Need, ...] = (user_need,) if user is None else ()
        return Missing((*needs, roles_need) if graph is None else needs)
    if isinstance(graph, Denial):
        return replace(graph, route=route, principal=principal_of(fact))
    if not isinstance(user, User | Absent) or not isinstance(graph, RoleGraph | Absent):
        raise TypeError("a need was answered with a fact of another kind")
    if isinstance(graph, RoleGraph) and graph.status is not Status.ACTIVE:
        disabled = "the tenant is disabled"
        return Denial(Reason.USER_DISABLED, disabled, route, principal_of(fact))
    key = credential.fingerprint if isinstance(credential, VerifiedCertificate) else credential[0]
    return snapshot.authorizer.subject(key, fact, user, graph, wall, leeway, done)


def _refuse_unknown(found: Found | Denial, route: Route) -> Denial:
    """There is neither session nor token: a refusal that is known already, or an absence."""
    if isinstance(found, Denial):
        return replace(found, route=route)
    if found is not ABSENT:
        raise TypeError("a credential was answered with a fact of another kind")
    return Denial(Reason.UNKNOWN_SESSION, "no such session", route)


def _check_session(session: Session, wall: float) -> Denial | None:
    if session.revoked_at is not None:
        return Denial(Reason.SESSION_REVOKED, "the session was revoked")
    if wall >= session.expires_at:
        return Denial(Reason.SESSION_EXPIRED, "the session has expired")
    return None


def _check_token(token: VerifiedToken, wall: float, leeway: float) -> Denial | None:
    """At each use, from memory too (PROMISES 9)."""
    if leeway < 0:
        return Denial(Reason.UNKNOWN_ISSUER, "the issuer is no longer configured")
    return check_time(token, wall, leeway)


def _check_user(user: Found | Denial, fact: Proof) -> Denial | None:
    if isinstance(user, User):
        if user.status is not Status.ACTIVE:
            return Denial(Reason.USER_DISABLED, "the user or its tenant is disabled")
        return None
    if isinstance(user, Denial):
        return user
    if not isinstance(fact, Session) and not fact.known_users_only:
        return None
    return Denial(Reason.UNKNOWN_USER, "no such user")


def _check_requirements(token: VerifiedToken, principal: Principal, route: Route) -> Denial | None:
    """What the route asks of tokens. Sessions have neither audience nor scopes to ask for."""
    if route.audiences and route.audiences.isdisjoint(token.audiences):
        detail = "the token names none of the route's audiences"
        return Denial(Reason.WRONG_AUDIENCE, detail, route, principal)
    lacking = route.scopes - token.scopes
    if lacking:
        detail = f"the token lacks {' '.join(sorted(lacking))}"
        return Denial(Reason.MISSING_SCOPE, detail, route, principal)
    return None
