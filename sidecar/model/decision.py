"""The outcome of a decision, but for `Permit`, which only `authorize/` can make."""

from dataclasses import dataclass
from typing import Protocol

from sidecar.model.need import Need
from sidecar.model.reason import STATUS, Reason
from sidecar.model.route import Route


@dataclass(frozen=True, slots=True, eq=False)
class Principal:
    """The authenticated party.

    Attributes:
        tenant: slug of its tenant.
        subject: its name within the tenant.
        roles: names of all roles held now, inherited ones included, sorted.
        credential: how it was recognized: ``session``, ``token`` or ``certificate``.
        session_id: public id of its session; ``""`` for a token.
        expires_at: wall-clock end of what was presented.
        identity: the identity fields as they go upstream, each ended by CRLF; rendered once and
            shared by all requests of the principal.
    """

    tenant: str
    subject: str
    roles: tuple[str, ...]
    credential: str
    session_id: str
    expires_at: float
    identity: bytes = b""


@dataclass(frozen=True, slots=True)
class RuleOrigin:
    """Where the rule that decided comes from, for people who ask why.

    Attributes:
        effect: ``allow`` or ``deny``.
        action: the rule's action pattern.
        resource: the rule's resource pattern.
        path: the assigned role, then the roles through which the rule was inherited; empty for
            a rule granted to the user directly.
    """

    effect: str
    action: str
    resource: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal. Nothing in it is secret; `detail` is for operators and never sent to clients.

    Attributes:
        reason: stable code; `STATUS` gives the status.
        detail: what exactly was wrong, without any part of a credential.
        route: the route, where one was found.
        principal: who asked, where that is known.
        origin: the rule that denied, where one did.
        allow: the methods that would have been allowed, for 405 (RFC 9110 section 10.2.1).
        retry_after: seconds after which trying again makes sense (RFC 9110 section 10.2.3); 0
            where nothing is known about that.
    """

    reason: Reason
    detail: str = ""
    route: Route | None = None
    principal: Principal | None = None
    origin: RuleOrigin | None = None
    allow: tuple[str, ...] = ()
    retry_after: int = 0

    @property
    def status(self) -> int:
        """The status of the answer: 404 where the route conceals itself (400, 401, 403)."""
        status = STATUS[self.reason]
        if status in {400, 401, 403} and self.route is not None and self.route.conceal:
            return 404
        return status


class Work(Protocol):
    """Computing that takes longer than the loop should stand still."""

    def advance(self) -> bool:
        """Do a slice of it, a millisecond or two; tells whether nothing is left to do."""
        ...


@dataclass(frozen=True, slots=True)
class Missing:
    """What has to be loaded, or done, before the decision can be made.

    Attributes:
        needs: what has to be loaded; empty where there is work.
        work: what has to be done, and then handed to the decision: the facts are all there.
    """

    needs: tuple[Need, ...]
    work: Work | None = None
