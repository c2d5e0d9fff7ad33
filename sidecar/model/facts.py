"""Facts: what the stores know and decisions depend on. Each carries its version.

They are encoded as MessagePack arrays in Redis, so a new field goes to the end, with a default.
`gc=False`: they hold no cycles, and a memory of 20 000 of them must not slow the collector.
Times are wall-clock instants in seconds since the epoch; ``None`` is "never".
"""

from enum import StrEnum

import msgspec


class Fact(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Base of all facts.

    Attributes:
        version: the sequence of its shard at the last change of the row (SYNC.md, "Truth").
    """

    version: int


class Status(StrEnum):
    """Whether a user or tenant may be used at all."""

    ACTIVE = "active"
    DISABLED = "disabled"


class Effect(StrEnum):
    """What a rule does. `DENY` beats `ALLOW` at any depth of inheritance."""

    ALLOW = "allow"
    DENY = "deny"


class Session(Fact, frozen=True, gc=False, array_like=True, kw_only=True):
    """An opaque session: who signed in, until when.

    Attributes:
        id: public identifier (not the secret), for logs and administration.
        tenant: slug of the tenant.
        subject: the user, unique within the tenant.
        expires_at: wall-clock end.
        revoked_at: when it was revoked.
    """

    id: str
    tenant: str
    subject: str
    expires_at: float
    revoked_at: float | None = None


class RoleGrant(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A role assigned to a user, perhaps only on some resources, perhaps until a time."""

    role: str
    resource: str = "*"
    expires_at: float | None = None


class Rule(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One statement: an effect on an action (``orders:read``, ``orders:*``, ``*``) on resources."""

    effect: Effect
    action: str
    resource: str = "*"


class RuleGrant(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A rule granted to a user directly, perhaps until a time."""

    rule: Rule
    expires_at: float | None = None


class User(Fact, frozen=True, gc=False, array_like=True, kw_only=True):
    """A user with everything granted to it. Sessions and tokens refer to this object (R11).

    Attributes:
        tenant: slug of the tenant.
        subject: unique within the tenant; what the upstream sees as the user.
        status: `Status.DISABLED` also when the tenant is disabled.
        roles: assigned roles, not yet expanded by inheritance.
        rules: rules granted directly.
    """

    tenant: str
    subject: str
    status: Status = Status.ACTIVE
    roles: tuple[RoleGrant, ...] = ()
    rules: tuple[RuleGrant, ...] = ()


class Role(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A named set of rules that inherits all rules of its parents."""

    name: str
    parents: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


class RoleGraph(Fact, frozen=True, gc=False, array_like=True, kw_only=True):
    """All roles of a tenant; `version` is the generation of the graph (SYNC.md).

    Attributes:
        tenant: slug of the tenant.
        roles: its roles.
        status: of the tenant itself: a token may be valid for users whom the stores do not know.
    """

    tenant: str
    roles: tuple[Role, ...] = ()
    status: Status = Status.ACTIVE


class VerifiedToken(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The claims of a JWT whose signature and claims were checked; lives in memory only.

    Attributes:
        issuer: `iss`.
        key_id: the key that verified it, so that a removed key ends its tokens.
        tenant: slug of the tenant, from the issuer's settings or a claim they name.
        subject: user within that tenant (the issuer's prefix applied to `sub`).
        expires_at: `exp`. The leeway is applied where it is compared.
        not_before: `nbf`, or 0.
        audiences: `aud`.
        scopes: `scope` split (RFC 8693 section 4.2).
        roles: roles the issuer claims for the subject, where its settings accept that.
        known_users_only: whether the subject must exist in the stores.
    """

    issuer: str
    key_id: str
    tenant: str
    subject: str
    expires_at: float
    not_before: float = 0.0
    audiences: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    roles: tuple[str, ...] = ()
    known_users_only: bool = True


class VerifiedCertificate(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Whom a client's certificate stands for; lives in memory only, like a token's claims.

    Attributes:
        fingerprint: SHA-256 of the certificate (32 bytes).
        tenant: slug of the tenant, from the settings of its trust domain.
        subject: user within that tenant.
        expires_at: its end.
        known_users_only: whether the subject must exist in the stores.
    """

    fingerprint: bytes
    tenant: str
    subject: str
    expires_at: float
    known_users_only: bool = True


# What shows who is asking, once it was checked.
Proof = Session | VerifiedToken | VerifiedCertificate
