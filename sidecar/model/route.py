"""A route: which requests it speaks of, and what it asks of them."""

from dataclasses import dataclass
from enum import StrEnum

from sidecar.model.cors import Cors
from sidecar.model.websocket import WebSocketPolicy


class Access(StrEnum):
    """What a route asks of whoever calls it."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    PERMISSION = "permission"


class Evidence(StrEnum):
    """Which credential says who is asking. Exactly one ever does (PROMISES 4)."""

    TOKEN = "token"  # noqa: S105 - a kind of credential
    CERTIFICATE = "certificate"
    EITHER = "either"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """One compiled route. Compared by identity: a table holds each route once.

    Attributes:
        name: unique and stable: metric label and audit field.
        host: exact host name, lower case, or ``None`` for any.
        template: path template as written, e.g. ``/api/orders/{order_id}``.
        methods: the methods it speaks of, upper case; empty means all.
        access: what it asks.
        action: the action of the permission asked (``orders:read``); empty unless `access`
            is `Access.PERMISSION`.
        resource: resource template (``orders/{order_id}``) or ``None`` when the permission
            is asked for no resource in particular.
        upstream: name of the upstream it is forwarded to.
        credential: whose owner is asking: the token's or session's, the client certificate's, or
            the token's where there is one and otherwise the certificate's.
        audiences: if not empty, a token must name one of them (RFC 7519 section 4.1.3).
        scopes: scopes that a token must all carry (RFC 6749 section 3.3).
        conceal: answer 404 instead of 401 and 403.
        forward_credential: whether the credential goes upstream (default: it does not).
        last_known_good_seconds: how long after they could last be used facts still permit while
            no store answers (R9); 0 for not at all.
        cors: what pages of other sites may do; None leaves that to the application.
        forwards_preflights: whether preflights reach the application, without a credential.
        websocket: what may pass over WebSockets; None for no WebSockets.
    """

    name: str
    host: str | None
    template: str
    methods: frozenset[str]
    access: Access
    action: str = ""
    resource: str | None = None
    upstream: str = "app"
    credential: Evidence = Evidence.TOKEN
    audiences: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    conceal: bool = False
    forward_credential: bool = False
    last_known_good_seconds: float = 0.0
    cors: Cors | None = None
    forwards_preflights: bool = False
    websocket: WebSocketPolicy | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RouteMatch:
    """A route together with what its template captured.

    Attributes:
        route: the route.
        parameters: parameter name -> percent-decoded segment (UTF-8, no slash).
    """

    route: Route
    parameters: dict[str, str]
