"""`routes`: who may do what."""

from typing import Annotated, Literal

from msgspec import Meta, field

from sidecar.settings.schema.base import Settings
from sidecar.settings.schema.limits import Rate
from sidecar.settings.schema.websocket import WebSocketRule


class CorsRule(Settings, frozen=True):
    """What pages of other sites may do with a route. Preflights are answered by us.

    Attributes:
        origins: ``https://app.example``, as browsers write them: scheme, host, and a port that is
            not the scheme's own; ``null`` for pages without one; ``*`` for any page; both only
            without `credentials`.
        methods: that may be asked for; none given means those of the route.
        headers: fields that pages may set beyond what they always may, e.g. ``Authorization``.
        exposed: fields of answers that pages may read beyond what they always may.
        credentials: whether the browser sends cookies along.
    """

    origins: Annotated[tuple[str, ...], Meta(min_length=1)]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    credentials: bool = False
    # How long browsers need not ask again; they have bounds of their own (Chrome: two hours).
    max_age_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 600


class RouteRule(Settings, frozen=True):
    """One route. The most specific route that matches a request decides.

    Attributes:
        path: template: literal segments, ``{name}`` for one segment, and at the end ``{name*}``
            for all that follows.
        access: ``public``, ``authenticated``, or left out where `permission` is given.
        permission: the action asked, e.g. ``orders:read``.
        resource: e.g. ``orders/{order_id}``, from the template's parameters.
        methods: none given means all; GET includes HEAD.
        host: exact host name, without port; left out, the route is for any.
        upstream: where it goes; may be left out when there is only one.
        credential: who is asking: ``token``, whoever the token or session stands for, whatever
            certificate the connection has; ``certificate``, its owner, and a token beside it is
            refused (400); ``either``, the token's where there is one, otherwise the certificate's.
        audiences: if given, a token must name one of them.
        scopes: scopes that a token must all carry.
        conceal: answer 404 instead of 401 and 403, so that nobody learns that it exists.
        forward_credential: let the credential go upstream; by default it does not.
        last_known_good_seconds: while no store answers, decide on what could be used at most this
            long ago: a revocation made meanwhile is not seen (docs/degradation.md). 0 answers 503.
        rates: limits of this route, beside those of all (`limits.rates`), by name.
        cors: which pages of other sites may use it; left out, the application says so itself, if
            preflights get there.
        preflight: ``forward`` lets preflights through to the application, whoever sends them,
            unless a route of the path names OPTIONS, which then decides; ``decide`` decides about
            them as about any OPTIONS request, unless there is `cors`.
        websocket: what may pass over WebSockets; left out, handshakes are refused (501).
        name: for logs and metrics; made from methods and path when left out.
    """

    path: str
    host: str | None = None
    methods: tuple[str, ...] = ()
    access: Literal["public", "authenticated"] | None = None
    permission: str | None = None
    resource: str | None = None
    upstream: str | None = None
    credential: Literal["token", "certificate", "either"] = "token"
    audiences: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    conceal: bool = False
    forward_credential: bool = False
    # An hour is the most: nobody should learn later than that that they were let go.
    last_known_good_seconds: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    rates: dict[str, Rate] = field(default_factory=dict)
    cors: CorsRule | None = None
    preflight: Literal["decide", "forward"] = "decide"
    websocket: WebSocketRule | None = None
    name: str | None = None
