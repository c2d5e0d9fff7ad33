"""Every setting with its default and the reason for it. The file is YAML; the unit is in the name.

Structs are frozen and refuse unknown keys. `sidecar.settings.load` fills them and says where in
the file something is wrong; cross-checks (duplicate names, unknown upstreams, unreachable routes)
live in `sidecar.settings.check`.
"""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, field

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections."""

    # Names of settings that hold secrets: no repr shows them (PROMISES 12).
    secrets: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        """All settings but the secrets."""
        shown = (
            f"{name}={'***' if name in self.secrets else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Limits(Settings, frozen=True):
    """What one client may ask of us. Beyond: the status in brackets."""

    # Cookies of large applications reach 16 KiB; nginx allows 4 x 8 KiB. (431)
    head_bytes: Annotated[int, Meta(ge=1024, le=1_048_576)] = 32_768
    # RFC 9110 section 4.1 asks for at least 8 000 octets. (414)
    target_bytes: Annotated[int, Meta(ge=256, le=65_536)] = 8_192
    # Browsers send 15 to 30 fields. (431)
    fields: Count = 100
    # 0 is unlimited: bodies are streamed, their size costs no memory. (413)
    body_bytes: Annotated[int, Meta(ge=0)] = 0
    # Bytes of chunk framing for each chunk: a size, extensions we drop. (431)
    chunk_line_bytes: Count = 256
    # Trailers are read and dropped. (431)
    trailer_bytes: Count = 8_192
    # Open client connections; the next is closed at once.
    connections: Count = 10_000
    # Open WebSockets, each of which takes a connection to an upstream for itself; the next is
    # refused. (503)
    websockets: Count = 10_000
    # Pipelined requests wait unread beyond this many bytes.
    pipeline_bytes: Count = 65_536
    # A body that comes more slowly, over more than `body_idle_seconds`, holds a connection to the
    # upstream for next to nothing; Kestrel's figure. 0 bounds pauses only. (408)
    slowest_upload_bytes_per_second: Annotated[int, Meta(ge=0)] = 240
    # The same for who reads an answer: over `write_stall_seconds`. 0 asks for some progress only.
    slowest_download_bytes_per_second: Annotated[int, Meta(ge=0)] = 240
    # All clients together: what waits in memory of their requests and answers. Beyond it those who
    # hold most are cut: a fast upload waits for a slow upstream, not in our memory. (503)
    buffered_bytes: Annotated[int, Meta(ge=1_048_576)] = 268_435_456


class Deadlines(Settings, frozen=True):
    """How long a client may take."""

    # From the accept to the end of the PROXY header and the TLS handshake.
    handshake_seconds: Positive = 5.0
    # From our end of a TLS connection to the client's: most clients never tell theirs.
    tls_shutdown_seconds: Positive = 2.0
    # From the first byte (or the accept) to the end of the head. (408)
    head_seconds: Positive = 10.0
    # Between two reads of a body. (408)
    body_idle_seconds: Positive = 30.0
    # Between two requests; above the usual 60 s of load balancers in front of us.
    keep_alive_seconds: Positive = 75.0
    # A client that does not read its answer: reset after this.
    write_stall_seconds: Positive = 30.0
    # What is still coming after an early refusal is drained this long (RFC 9112 section 9.6).
    linger_seconds: Positive = 2.0
    # The same for a WebSocket, from one side's close frame to the other's (RFC 6455 section 7.1.1).
    close_seconds: Positive = 2.0
    # On SIGTERM: from turning unready to the first sign of ending. Load balancers that look at
    # /readyz should have noticed by then; 0 where nothing does.
    drain_delay_seconds: Annotated[float, Meta(ge=0)] = 0.0
    # After that: what is in flight may finish.
    drain_seconds: Positive = 25.0


class Tls(Settings, frozen=True):
    """TLS with clients. Relative file names start from the folder of the configuration.

    Attributes:
        certificate: PEM file: our certificate, then the intermediate ones.
        key: PEM file: its private key, without a passphrase.
        client_ca: PEM file: whose certificates of clients are believed.
        client_certificate: whether clients present one. ``optional`` leaves it to the routes
            (`routes[].credential`); with ``required`` nobody connects without.
    """

    certificate: str
    key: str
    client_ca: str | None = None
    client_certificate: Literal["off", "optional", "required"] = "off"
    # Older ones have known weaknesses (RFC 8996).
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    # How often the files are looked at, and loaded again where they changed; SIGHUP does it now.
    reload_seconds: Positive = 10.0


class Listen(Settings, frozen=True):
    """Where clients connect.

    Attributes:
        address: ``host:port``, ``[v6]:port`` or ``unix:/path``; port 0 takes a free one.
        proxy_protocol: ``required`` where a load balancer before us sends PROXY headers (versions
            1 and 2), which then tell the client's address.
        proxy_protocol_from: networks (CIDR, or ``unix``) of these load balancers; none given means
            those of `forwarded.trusted`. Connections from anywhere else are refused.
    """

    address: str = "127.0.0.1:8080"
    # Connections that the kernel keeps until we accept them; it caps this at somaxconn.
    backlog: Count = 1024
    limits: Limits = field(default_factory=Limits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    # Processes that serve, each with memory, pools and limits of its own (docs/operations.md). One
    # is enough for most: it decides in microseconds.
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    # A worker whose loop has not turned for so long is killed and started again.
    worker_hung_seconds: Annotated[float, Meta(ge=2)] = 10.0
    proxy_protocol: Literal["off", "required"] = "off"
    proxy_protocol_from: tuple[str, ...] = ()
    # `null` is plain HTTP: for where something before us ends TLS, or nobody else listens.
    tls: Tls | None = None


class Admin(Settings, frozen=True):
    """Health, metrics and administration; never reachable through the traffic listener."""

    secrets: ClassVar[frozenset[str]] = frozenset({"token"})

    # As of listen.address; the default takes a free port on loopback.
    address: str = "127.0.0.1:0"
    # At a time, with a token or without: of more the oldest is broken off. Probes and scrapes need
    # a few; each takes a descriptor that clients could have.
    connections: Annotated[int, Meta(ge=4, le=1024)] = 64
    # Turns the admin API on (docs/admin-api.md), for whoever presents it: the application shares
    # the loopback interface with us, so being there proves nothing. Secret.
    token: Annotated[str, Meta(min_length=32)] | None = None
    # Or the file that holds it; a relative name starts from the folder of the configuration.
    token_file: str | None = None


class UpstreamTls(Settings, frozen=True):
    """TLS with an upstream. Its certificate is always verified; files as of `listen.tls`.

    Attributes:
        ca: PEM file: who signs its certificate; left out, those whom this machine trusts.
        server_name: the name its certificate must have; left out, the host of `url`.
        certificate: PEM file: the certificate that we present, where it asks for one.
        key: PEM file: the private key of `certificate`.
    """

    ca: str | None = None
    server_name: str | None = None
    certificate: str | None = None
    key: str | None = None
    # As of listen.tls.
    reload_seconds: Positive = 10.0


class Breaker(Settings, frozen=True):
    """When an upstream that keeps failing is left alone (503 at once), and for how long.

    A failure is: no connection, no answer in time, a malformed one, or none at all.

    Attributes:
        statuses: answers that count as failures, too, such as 502 or 503. None by default: an
            application that answers is there, and its errors are its own.
    """

    # In a row. At once after one failure would be a reaction to chance.
    failures: Count = 5
    # Or this share of the requests of the last `window_seconds`...
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    # ...where there were at least so many.
    least_requests: Count = 20
    # Long enough for a share to mean something, short enough to be about now.
    window_seconds: Positive = 10.0
    # Then nothing is sent for so long (a quarter more or less, by chance); one request tries...
    open_seconds: Positive = 1.0
    # ...and if it fails, too, twice as long, at most this.
    longest_open_seconds: Positive = 30.0
    statuses: tuple[Annotated[int, Meta(ge=500, le=599)], ...] = ()


class Upstream(Settings, frozen=True):
    """An application we stand before.

    Attributes:
        url: ``http://host:port``, ``https://host:port`` or ``unix:/path``. A path after the port
            is an error: what was authorized is forwarded as it is.
    """

    url: str
    # For https.
    tls: UpstreamTls | None = None
    # Beside us on the same host; a second is generous.
    connect_seconds: Positive = 1.0
    # From the end of the request to the end of the response's head. (504)
    head_seconds: Positive = 30.0
    # Between two reads of a response's body; event streams should send comments.
    body_idle_seconds: Positive = 300.0
    # Below the keep-alive of common servers (Node 5 s, uvicorn 5 s, gunicorn 2 s): a POST is
    # never replayed, so a connection that may be closing must not be used.
    # `Keep-Alive: timeout=...` of the upstream shortens it.
    idle_seconds: Positive = 1.5
    # A connection older than this is not used again: where a name leads elsewhere now, or another
    # instance came up behind it, a connection that never rests would not notice.
    connection_seconds: Positive = 300.0
    # Connections to it; a request waits for a free one at most `queue_seconds`. (503)
    connections: Count = 256
    queue_seconds: Positive = 5.0
    # Requests that may wait for a connection; the next is refused at once. (503)
    queue: Annotated[int, Meta(ge=0)] = 1024
    # The longest head of a response. (502)
    head_bytes: Count = 65_536
    # Host as the client sent it, or the upstream's own.
    keep_host: bool = True
    # `null` is none: where there is but one application to ask, trying is better than guessing
    # that it is still down (docs/limits.md).
    breaker: Breaker | None = None


class Postgres(Settings, frozen=True):
    """The truth."""

    secrets: ClassVar[frozenset[str]] = frozenset({"dsn"})

    # `postgresql://user:password@host:port/database`, or libpq's key=value pairs. Secret.
    dsn: str
    # Connections kept open when nothing is asked; 0, because a fleet is large.
    pool_min: Annotated[int, Meta(ge=0)] = 0
    # Memory answers nearly everything; what it misses is short.
    pool_max: Count = 4
    # Waiting for a connection; then the stores count as unavailable. (503)
    pool_wait_seconds: Positive = 1.0
    # Requests that may wait for a connection; the next counts the stores as unavailable. (503)
    pool_waiting: Count = 64
    # PostgreSQL gives up a statement after this.
    statement_seconds: Positive = 1.0


class Redis(Settings, frozen=True):
    """The second level and the news. `null` in the file runs without it."""

    secrets: ClassVar[frozenset[str]] = frozenset({"url", "password", "sentinel_password"})

    # One server; a master that sentinels name; or a Cluster, whose nodes share the shards.
    topology: Literal["standalone", "sentinel", "cluster"] = "standalone"
    # For `standalone`, and required there: `redis://user:password@host:port/number`, `rediss://`
    # for TLS, `unix:///path`. Secret.
    url: str = ""
    # For `sentinel` the sentinels, for `cluster` a few of its nodes, each `host:port`. The rest is
    # found out from them, so name several: one of them has to be up.
    nodes: tuple[str, ...] = ()
    # For `sentinel`: the name under which the sentinels know the master.
    service: str | None = None
    # For `sentinel` and `cluster`: the user at the servers; without one, the default user.
    username: str | None = None
    # For `sentinel` and `cluster`: the password at the servers. Secret.
    password: str | None = None
    # For `sentinel`: the password at the sentinels themselves, where they ask for one. Secret.
    sentinel_password: str | None = None
    # For `sentinel` and `cluster`: TLS to all of them, with certificates that this machine trusts.
    tls: bool = False
    # For `sentinel`: the number of the database; a Cluster has only this one.
    database: Annotated[int, Meta(ge=0, le=9999)] = 0
    # Beyond this PostgreSQL is asked: waiting for the cache must cost less than missing it.
    command_seconds: Positive = 0.25
    connect_seconds: Positive = 0.5
    # To each server. A command takes well under a millisecond, so few are enough.
    connections: Count = 8
    # Prefix of every key and channel.
    prefix: str = "sc"
    # How long a master that was cut off may still accept writes, with `min-replicas-max-lag 2`:
    # an acknowledgement as `applied` waits until the present epoch is older than this and a lease.
    isolation_seconds: Positive = 4.0


class Stores(Settings, frozen=True):
    """Where facts come from."""

    postgres: Postgres
    # Without it every sidecar reads what it misses from PostgreSQL.
    redis: Redis | None = None
    # Loading what a decision misses, all tiers together. (503)
    load_seconds: Positive = 0.3


class SessionCredential(Settings, frozen=True):
    """Opaque sessions (`scs1_...`)."""

    # `__Host-` needs HTTPS; where TLS ends before us that prefix is the better name.
    cookie: str = "sidecar_session"
    # Whether `Authorization: Bearer scs1_...` is accepted beside the cookie.
    bearer: bool = True
    # From signing in to the end, whatever happens in between.
    lifetime_seconds: Positive = 43_200.0


class Jwks(Settings, frozen=True):
    """Where an issuer's keys are: exactly one of the two."""

    # https; http only on loopback. It is a JWK set (RFC 7517 section 5).
    url: str | None = None
    # A JWK set; a relative name starts from the folder of the configuration.
    file: str | None = None
    # A removed key stops being accepted within this.
    refresh_seconds: Positive = 300.0
    # An unknown key id causes at most one fetch in this time, however many tokens name it.
    unknown_key_seconds: Positive = 10.0
    # One fetch, all of it.
    fetch_seconds: Positive = 2.0


class Issuer(Settings, frozen=True):
    """An issuer of JWTs that is believed.

    Attributes:
        issuer: exact value of `iss`.
        audiences: a token must name one of them; never empty.
        algorithms: allow-list; only asymmetric signatures.
        tenant: the tenant its subjects belong to.
        tenant_claim: or the claim that names it, which must then be one of `tenants`.
        tenants: the tenants that the claim may choose from.
        subject_prefix: put before `sub`; of two issuers of one tenant, neither's may begin with
            the other's, so both need one.
        types: accepted `typ` values, compared without ``application/`` and case; the empty string
            accepts a token without `typ`.
        roles_claim: JSON pointer to a list of role names that the issuer may assert.
        known_users_only: whether the subject must exist in the stores.
    """

    issuer: str
    audiences: Annotated[tuple[str, ...], Meta(min_length=1)]
    jwks: Jwks
    algorithms: Annotated[
        tuple[
            Literal[
                "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
                "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
            ],
            ...,
        ],
        Meta(min_length=1),
    ] = ("RS256", "ES256")  # fmt: skip
    tenant: str | None = None
    tenant_claim: str | None = None
    tenants: tuple[str, ...] = ()
    subject_prefix: str = ""
    types: tuple[str, ...] = ("jwt", "at+jwt", "")
    roles_claim: str | None = None
    known_users_only: bool = True
    # Clocks of issuers differ from ours by less than this.
    leeway_seconds: Annotated[float, Meta(ge=0, le=300)] = 5.0


class Spiffe(Settings, frozen=True):
    """A SPIFFE trust domain whose workloads are believed, by their certificates.

    Attributes:
        trust_domain: e.g. ``prod.example.com``, of ``spiffe://prod.example.com/ns/shop/sa/orders``.
        tenant: the tenant its workloads belong to.
        subject_prefix: put before the path without its first slash (``ns/shop/sa/orders``), which
            is the subject; whoever else speaks for the tenant needs another one, and neither may
            begin with the other.
        known_users_only: whether the subject must exist in the stores.
    """

    trust_domain: str
    tenant: str
    subject_prefix: str = ""
    known_users_only: bool = True


class CertificateNames(Settings, frozen=True):
    """Clients' certificates without a SPIFFE id: believed by their subject's name.

    Attributes:
        tenant: the tenant they belong to.
        subject_prefix: put before the name (``CN=orders,O=Acme``, RFC 4514), which is the subject;
            whoever else speaks for the tenant needs another one, and neither may begin with the
            other.
        known_users_only: whether the subject must exist in the stores.
    """

    tenant: str
    subject_prefix: str = ""
    known_users_only: bool = True


class WebSocketCredential(Settings, frozen=True):
    """How a WebSocket handshake may show a credential, beside the cookie and `Authorization`.

    Browsers let pages set neither fields nor cookies of other sites there, only the URL and the
    subprotocols.

    Attributes:
        query_parameter: name of a parameter of the query that holds a session token or JWT. URLs
            end up in histories and logs, so nothing is read from them unless it is named here.
        ticket_parameter: name of the parameter that holds a ticket (`POST /_sidecar/tickets`),
            which is worth nothing once it was used.
    """

    # The subprotocol `sidecar.bearer.<token>`, a session token or JWT (docs/websocket.md).
    subprotocol: bool = True
    query_parameter: str | None = None
    ticket_parameter: str = "sidecar_ticket"
    # From its issue to the handshake; pages ask for one just before.
    ticket_seconds: Annotated[float, Meta(gt=0, le=300)] = 30.0


class Credentials(Settings, frozen=True):
    """What is accepted as proof of who is asking.

    Attributes:
        token_key: secret of at least 32 characters that signs session tokens, so that random
            floods are refused without I/O. The same for all sidecars of a deployment.
        realm: `realm` of ``WWW-Authenticate`` (RFC 9110 section 11.5).
        sign_in_url: browsers without a credential are redirected there; ``{target}`` in it is
            replaced by the encoded target. Without it they get a small page.
    """

    secrets: ClassVar[frozenset[str]] = frozenset({"token_key"})

    token_key: Annotated[str, Meta(min_length=32)]
    session: SessionCredential | None = field(default_factory=SessionCredential)
    # In WebSocket handshakes, beside the ways of other requests.
    websocket: WebSocketCredential = field(default_factory=WebSocketCredential)
    issuers: tuple[Issuer, ...] = ()
    # Certificates of clients, for routes that ask for them; needs listen.tls.client_certificate.
    # One trust domain or names: each authority in listen.tls.client_ca could sign for all of them.
    spiffe: tuple[Spiffe, ...] = ()
    # For certificates without a SPIFFE id.
    certificate_names: CertificateNames | None = None
    realm: str = "sidecar"
    sign_in_url: str | None = None


class Identity(Settings, frozen=True):
    """Names of the fields that tell the upstream who is asking; `null` leaves one out.

    Whatever the client sends under these names, in any spelling, is removed.
    """

    user: str | None = "X-Auth-User"
    tenant: str | None = "X-Auth-Tenant"
    roles: str | None = "X-Auth-Roles"


class Forwarded(Settings, frozen=True):
    """Fields about the way a request came.

    Attributes:
        trusted: networks (CIDR, or ``unix``) of proxies before us whose X-Forwarded-* and
            X-Request-Id are believed and kept; from anybody else they are replaced.
        traceparent: ``keep`` continues the caller's trace (W3C Trace Context), ``new`` always
            begins one, ``off`` removes and sets nothing.
        request_id: name of the request id's field.
    """

    trusted: tuple[str, ...] = ()
    traceparent: Literal["keep", "new", "off"] = "keep"
    request_id: str = "X-Request-Id"


class Rate(Settings, frozen=True):
    """A limit of requests; the first one too many gets 429. Each sidecar counts for itself.

    Attributes:
        per: whose requests are counted together: ``address``, one client's (an IPv6 /64), before
            any credential is looked at; ``principal``, one user's or workload's, where it is known
            who asks; ``route``, all of a route.
        requests: that many...
        seconds: ...in this time.
        burst: that many at once, after a pause; left out, as many as `requests`.
    """

    per: Literal["address", "principal", "route"]
    requests: Count
    seconds: Positive = 1.0
    burst: Count | None = None


class Overload(Settings, frozen=True):
    """How much is let through.

    Attributes:
        rates: limits for all routes, by the name that clients are told; a route may have more.
    """

    rates: dict[str, Rate] = {}
    # Addresses or principals that each of them counts apart, about 0.2 KB each. When there are
    # more at a time, those that came last share some buckets; nobody's is forgotten for them.
    buckets: Count = 50_000
    # `RateLimit` and `RateLimit-Policy` stand in refusals, or in all answers.
    rate_fields: Literal["refusals", "always"] = "refusals"
    # Requests under way, all clients together; the next is refused at once. (503) By default as
    # many as connections (listen.limits.connections), each of which has one at a time.
    requests: Count = 10_000


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


class Reauthentication(Settings, frozen=True):
    """A message by which a client shows a fresh credential on an open WebSocket.

    It is a JSON object as text; it goes to us and not to the application.

    Attributes:
        type: what marks it...
        type_pointer: ...at this place (a JSON pointer, RFC 6901).
        token_pointer: where the session token or JWT stands in it.
    """

    type: Annotated[str, Meta(min_length=1)] = "sidecar.authenticate"
    type_pointer: str = "/type"
    token_pointer: str = "/token"  # noqa: S105 - a place
    # The client is told so long before its credential ends; 0 tells nothing.
    announce_seconds: Annotated[float, Meta(ge=0)] = 0.0


class MessageRule(Settings, frozen=True):
    """One rule for messages. The first that fits a message decides (docs/websocket.md).

    Attributes:
        direction: who sent it: ``client``, or ``server`` for the application.
        type: pattern of its type: ``orders.read``, ``orders.*``, ``SEND``, ``subscribe``.
        topic: pattern of its topic: ``/topic/orders/{order_id}``, or for GraphQL the name of the
            operation; left out, any.
        where: JSON pointer to the value that must stand there. ``true``, ``false``, ``null`` and
            whole numbers are these (in quotes, for YAML), anything else is text.
        documents: for GraphQL the SHA-256 of each document, in hexadecimal, that the rule is about.
        any_document: instead, that the permission covers whatever an operation may do.
        access: ``route``, whoever may use the route; ``nobody``; left out where `permission` is
            given.
        permission: the action asked, e.g. ``orders:read``.
        resource: e.g. ``orders/{order_id}``, from the parameters of the route's path, of `type` and
            `topic`, and from `fields`.
        fields: name for `resource`: JSON pointer to the value, text or a whole number.
    """

    type: str
    direction: Literal["client", "server"] = "client"
    topic: str | None = None
    where: dict[str, str] = {}
    documents: tuple[str, ...] = ()
    any_document: bool = False
    access: Literal["route", "nobody"] | None = None
    permission: str | None = None
    resource: str | None = None
    fields: dict[str, str] = {}


class Messages(Settings, frozen=True):
    """Which messages may pass. They are read, so nothing is compressed on such a route.

    Attributes:
        protocol: how messages are read; ``hook`` is a function of yours.
        rules: which of them may pass.
        type_pointer: for ``json``, where a message says its type (a JSON pointer, RFC 6901).
        topic_pointer: for ``json``, where it says its topic.
        id_pointer: for ``json``, where it says its id, for `error`.
        error: for ``json`` and ``hook``, the message that a client gets for one that was refused:
            JSON in which ``"{id}"``, ``"{type}"``, ``"{code}"`` and ``"{message}"`` are filled in.
        hook: ``module:function``, which reads messages (docs/websocket.md).
        subscribe_headers: for ``stomp``, headers that `SUBSCRIBE` may have beside the standard's.
            Brokers take some for another destination, so others are refused.
        refused: what the client gets: ``reply``, an error in its protocol (STOMP then closes);
            ``drop``, nothing; ``close``, the end of the connection (4403).
        unknown: what happens to messages of clients that no rule speaks of.
        unknown_from_server: the same for the application's, where any rule speaks of those; where
            none does, they pass unread.
    """

    protocol: Literal["json", "json-rpc", "stomp", "graphql-transport-ws", "hook"]
    rules: Annotated[tuple[MessageRule, ...], Meta(min_length=1)]
    type_pointer: str = "/type"
    topic_pointer: str | None = None
    id_pointer: str | None = None
    error: str | None = None
    hook: str | None = None
    subscribe_headers: tuple[str, ...] = ()
    refused: Literal["reply", "drop", "close"] = "reply"
    unknown: Literal["refuse", "allow"] = "refuse"
    unknown_from_server: Literal["refuse", "allow"] = "refuse"
    # Reading holds everybody up for a moment: a usual message 10 us, the worst of 64 KiB 5 ms.
    longest_bytes: Annotated[int, Meta(ge=125)] = 65_536
    # Objects and arrays within each other; protocols in use stay below ten.
    depth: Annotated[int, Meta(ge=1, le=128)] = 32
    # Calls of a JSON-RPC batch or a hook, headers of a STOMP frame.
    items: Annotated[int, Meta(ge=1, le=1000)] = 50


class WebSocketRule(Settings, frozen=True):
    """What may pass over WebSockets of a route (docs/websocket.md). Left out, there are none.

    Attributes:
        origins: pages that may connect, as browsers write their origins, beside those of the host
            itself; ``*`` for any, where no cookie or certificate says who is asking.
        reauthenticate: the message that extends a connection's life; `null` for none.
        messages: which messages may pass; `null` lets all pass unread.
    """

    origins: tuple[str, ...] = ()
    # Beyond, the connection is closed (1009). Frames are not kept in memory, they pass.
    frame_bytes: Annotated[int, Meta(ge=125)] = 16_777_216
    # All frames of a message together; compressed as they are.
    message_bytes: Annotated[int, Meta(ge=125)] = 16_777_216
    # The same where messages are read (message rules, `reauthenticate`): those are kept whole.
    read_bytes: Annotated[int, Meta(ge=125)] = 1_048_576
    # Of a client, in a second, counted over ten; beyond, the connection is closed (1008). 0 counts
    # nothing.
    messages_per_second: Annotated[float, Meta(ge=0)] = 0.0
    # Without a message in either direction for so long the connection is closed (1001). 0 never:
    # pings tell of peers that are gone.
    idle_seconds: Annotated[float, Meta(ge=0)] = 0.0
    # Who has sent nothing for so long is sent a ping; who then sends nothing for as long again is
    # gone. Below what load balancers and NAT let rest (60 s and more). 0 sends none.
    ping_seconds: Annotated[float, Meta(ge=0)] = 25.0
    # While nobody can say whether it may go on, nothing passes; after this it is closed (1013).
    hold_seconds: Positive = 5.0
    reauthenticate: Reauthentication | None = None
    messages: Messages | None = None


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
        preflight: ``forward`` lets preflights through to the application, whoever sends them;
            ``decide`` decides about them as about any OPTIONS request, unless there is `cors`.
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
    rates: dict[str, Rate] = {}
    cors: CorsRule | None = None
    preflight: Literal["decide", "forward"] = "decide"
    websocket: WebSocketRule | None = None
    name: str | None = None


class Cache(Settings, frozen=True):
    """Sizes of the regions of memory, in entries, and how long entries are used."""

    sessions: Count = 50_000
    tokens: Count = 50_000
    users: Count = 50_000
    # One for each tenant.
    role_graphs: Count = 1_000
    # Roles as users hold them, compiled; users with the same roles share one.
    role_sets: Count = 5_000
    # Answers that something does not exist; apart, so that floods evict nothing that does.
    negative: Count = 20_000
    # Bound on how old an entry may get, although every change is announced. Where lifetimes adapt
    # it is the one to begin with...
    entry_seconds: Positive = 60.0
    # ...then it is this where nearly all entries of a kind change before they are so old: a lost
    # message would matter most there...
    shortest_entry_seconds: Positive = 15.0
    # ...and this where nearly nothing changes: longer saves no reads worth mentioning.
    longest_entry_seconds: Positive = 300.0
    # How long "there is no such thing" is believed.
    negative_seconds: Positive = 3.0
    # Entries in Redis outlive those of memory: a restart finds them.
    redis_entry_seconds: Positive = 600.0
    # Memory is used only while the news from Redis is known to flow: this long after the last
    # proof of it (SYNC.md, lease).
    lease_seconds: Positive = 1.5
    # How often that proof is asked for; at most half of the lease.
    heartbeat_seconds: Positive = 0.5
    # At the start: what the other sidecars use most, loaded before traffic is taken...
    warm_entries: Annotated[int, Meta(ge=0)] = 10_000
    # ...within this time; what is not there by then is loaded when it is asked for.
    warm_seconds: Positive = 1.0
    # Clients are let in once this share of it is there; the rest follows within the same time.
    warm_ready_share: Annotated[float, Meta(ge=0, le=1)] = 1.0
    # Sessions of which it is remembered whose they are, also when they have left memory: their next
    # request loads session, user and roles at once. About 0.3 KB each.
    foresight: Count = 10_000
    # Loads that nobody waits for yet (predicted, after a sign-in, after a change), all together:
    # far below what the stores carry. Those that prove right are no more work, only earlier.
    anticipated_per_second: Count = 1000
    # What was in use and has changed is read anew within this time, at a moment that chance picks:
    # the sidecars of a fleet shall find in Redis what the first of them brought there.
    revalidate_seconds: Positive = 0.05


class Features(Settings, frozen=True):
    """Each optimisation can be turned off; the answers stay the same, only slower."""

    # Facts are kept in this process.
    memory_cache: bool = True
    # Facts are read from and written to Redis.
    redis_cache: bool = True
    # "There is no such thing" is remembered.
    negative_cache: bool = True
    # Requests that miss the same fact at the same time share one read.
    single_flight: bool = True
    # A start begins with what the other sidecars use most.
    warming: bool = True
    # What is in use is read anew before it expires, off the request path.
    refresh_ahead: bool = True
    # Sessions, users and role graphs are each kept the longer the more rarely they change.
    adaptive_lifetimes: bool = True
    # A session that memory lost is loaded together with its user and roles, not before them.
    prediction: bool = True
    # What was in use and has changed is read anew, off the request path.
    revalidation: bool = True
    # Who signs in finds its session, user and roles in memory.
    sign_in_warming: bool = True
    # The outcome for one principal, route and resource is remembered while nothing changes.
    decision_memo: bool = True
    # Upstreams that have a `breaker` are left alone when they keep failing. Of all flags the only
    # one that changes answers: 503 at once instead of 502 or 504 after a while.
    circuit_breaker: bool = True


class Audit(Settings, frozen=True):
    """Where decisions are written, one JSON object a line.

    Attributes:
        sink: ``stdout``, ``stderr``, ``off`` or ``file:/path``.
        permits: whether permits are written too; refusals always are.
    """

    sink: str = "stdout"
    permits: bool = True
    # Lines are written together, this often.
    flush_seconds: Positive = 0.25


class Root(Settings, frozen=True):
    """The whole file."""

    upstreams: Annotated[dict[str, Upstream], Meta(min_length=1)]
    stores: Stores
    credentials: Credentials
    routes: Annotated[tuple[RouteRule, ...], Meta(min_length=1)]
    version: Literal[1] = 1
    listen: Listen = field(default_factory=Listen)
    admin: Admin = field(default_factory=Admin)
    identity: Identity = field(default_factory=Identity)
    forwarded: Forwarded = field(default_factory=Forwarded)
    cache: Cache = field(default_factory=Cache)
    features: Features = field(default_factory=Features)
    limits: Overload = field(default_factory=Overload)
    audit: Audit = field(default_factory=Audit)
    # Bodies of refusals name the request id; operators may add a line of help, e.g. a contact.
    help_text: str = ""
