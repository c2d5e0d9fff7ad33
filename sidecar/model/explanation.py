"""Why a request would be permitted or refused, as plain values that can be printed."""

from dataclasses import dataclass, field

from sidecar.model.decision import Principal, RuleOrigin
from sidecar.model.need import Need, RolesNeed, SessionNeed, TokenNeed
from sidecar.model.reason import Reason
from sidecar.model.route import Route

# Enough to compare two steps; the digests of secrets are never shown whole.
_SHOWN_HEX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Step:
    """One fact the decision needed.

    Attributes:
        kind: ``session``, ``token``, ``user`` or ``roles``.
        key: which one, without any secret: ``acme/alice``.
        tier: where it was found: ``memory``, ``redis``, ``postgres``; ``keys`` for a token that was
            verified now; ``absent`` where the truth has no such thing.
        version: of the fact; None for tokens and for what is absent.
    """

    kind: str
    key: str
    tier: str
    version: int | None = None


def step(need: Need, tier: str, version: int | None = None) -> Step:
    """The step that loaded `need` from `tier`."""
    return Step(*describe(need), tier, version)


def describe(need: Need) -> tuple[str, str]:
    """Kind and key of `need`, for people and without secrets."""
    if isinstance(need, SessionNeed):
        return "session", need.digest.hex()[:_SHOWN_HEX_DIGITS]
    if isinstance(need, TokenNeed):
        return "token", need.key.hex()[:_SHOWN_HEX_DIGITS]
    if isinstance(need, RolesNeed):
        return "roles", need.tenant
    return "user", f"{need.tenant}/{need.subject}"


@dataclass(frozen=True, slots=True)
class AskedMessage:
    """A WebSocket message that somebody asks about.

    Attributes:
        payload: all of it.
        is_text: whether it would be sent as text.
        from_server: whether the application would send it.
    """

    payload: bytes
    is_text: bool = True
    from_server: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStep:
    """One call of a WebSocket message, and the rule that speaks of it.

    Attributes:
        type: its type.
        topic: its topic; None where it has none.
        rule: the rule's place in the file, from 0; None where none speaks of it.
        access: ``route`` or ``nobody`` where the rule says so.
        action: of the permission that it asks; ``""`` for none.
        resource: on which; ``""`` for none in particular, None where the message is not clear.
        origin: the rule of the principal's that decided about that permission.
        faults: where the message is not as the rule's schema says (JSON pointer and keyword, such
            as ``/params/lines/3: minimum``); never what stands there.
    """

    type: str
    topic: str | None = None
    rule: int | None = None
    access: str = ""
    action: str = ""
    resource: str | None = None
    origin: RuleOrigin | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageExplanation:
    """What would become of a WebSocket message.

    Attributes:
        passes: whether it would go on.
        label: the code of the refusal; ``""`` where it passes.
        detail: why nothing more can be said.
        calls: what it says.
    """

    passes: bool
    label: str = ""
    detail: str = ""
    calls: tuple[CallStep, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision together with all that led to it.

    Attributes:
        method: of the request.
        path: the canonical path that was judged (as given where it has none).
        host: the host, lower case, without port.
        permitted: the outcome.
        reason: its code.
        status: what the client gets when it is refused (404 where the route conceals itself);
            None for a permit.
        detail: what exactly was wrong, for operators.
        route: the route that matched.
        parameters: what its template captured.
        resource: the resource the permission was asked for, parameters filled in; ``""`` or None
            for none in particular.
        principal: who asked, as far as that was found out.
        origin: the rule that decided.
        steps: what was loaded, in order.
        allow: the methods that would have been allowed, for 405.
        message: what would become of a message on the connection, where that was asked.
    """

    method: str
    path: str
    host: str
    permitted: bool
    reason: Reason
    status: int | None = None
    detail: str = ""
    route: Route | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    resource: str | None = None
    principal: Principal | None = None
    origin: RuleOrigin | None = None
    steps: tuple[Step, ...] = ()
    allow: tuple[str, ...] = ()
    message: MessageExplanation | None = None
