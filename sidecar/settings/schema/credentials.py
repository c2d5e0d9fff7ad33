"""`credentials`: sessions, JWTs and certificates, and whose are believed."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from sidecar.settings.schema.base import Positive, Settings


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
