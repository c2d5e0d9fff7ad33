"""The permit: the proof that somebody authorized. Forwarding takes one; only this package makes it.

A test walks the syntax trees of the whole product and finds no other place that does.
"""

from collections.abc import Mapping
from typing import Final, final

from sidecar.authorize.subject import Subject
from sidecar.model.decision import Principal, RuleOrigin
from sidecar.model.reason import Reason
from sidecar.model.route import Route

# Whoever holds it can make a permit; it is imported by `sidecar.authorize.authorizer` alone.
SEAL: Final = object()


@final
class Permit:
    """A request that may go to its upstream. Not to be changed: mypy holds the attributes final.

    Plain slots, as `RequestHead` has: one is made for each request.

    Attributes:
        route: the route.
        principal: who asked; None on a public route.
        reason: `PUBLIC`, `AUTHENTICATED` or `GRANTED`; `LAST_KNOWN_GOOD` for either of the last
            two where no store could be asked whether it still holds.
        origin: the rule that allowed it, where one did.
        resource: the resource that was asked for; ``""`` for none in particular.
        parameters: what the route's template captured.
        expires_at: wall-clock instant until which this holds: the end of the credential (leeway
            included) or of the first grant to end. Later, a decision has to be made again;
            infinite on a public route.
        subject: who asked, to be asked what else they may do, for as long as nothing changes;
            None on a public route.
    """

    __slots__ = (
        "expires_at",
        "origin",
        "parameters",
        "principal",
        "reason",
        "resource",
        "route",
        "subject",
    )

    def __init__(
        self,
        seal: object,
        route: Route,
        principal: Principal | None,
        reason: Reason,
        origin: RuleOrigin | None,
        resource: str,
        parameters: Mapping[str, str],
        expires_at: float,
        subject: Subject | None = None,
    ) -> None:
        if seal is not SEAL:
            raise TypeError("only sidecar.authorize makes permits")
        self.route: Final = route
        self.principal: Final = principal
        self.reason: Final = reason
        self.origin: Final = origin
        self.resource: Final = resource
        self.parameters: Final = parameters
        self.expires_at: Final = expires_at
        self.subject: Final = subject

    def __repr__(self) -> str:
        """What was permitted, to whom."""
        who = "anybody" if self.principal is None else self.principal.subject
        return f"<Permit {self.route.name} {self.reason} for {who}>"
