"""Needs: what a decision did not find in memory. Each names one fact, and is its cache key.

The shell loads a need (Memory -> Redis -> PostgreSQL) and the decision is made again.
They are tuples because a tuple hashes in C: they are looked up several times for each request.
"""

from enum import Enum
from typing import Final, NamedTuple

from sidecar.model.facts import RoleGraph, Session, User, VerifiedToken
from sidecar.model.shard import SHARDS, shard_of


class SessionNeed(NamedTuple):
    """The session of an opaque token.

    Attributes:
        digest: SHA-256 of the token (32 bytes): its name in memory and in the stores. The token
            holds 256 random bits, so the digest tells nothing about it.
        shard: the shard the token names, so that Redis can be addressed before the tenant is known.
    """

    digest: bytes
    shard: int


class TokenNeed(NamedTuple):
    """The verified claims of a JWT.

    Attributes:
        key: keyed BLAKE2b digest of the whole compact token (16 bytes). Keyed, because parts of a
            JWT can be guessed.
        token: the compact serialization (RFC 7515 section 3.1). Never logged.
    """

    key: bytes
    token: str

    def __repr__(self) -> str:
        """Without the secret (PROMISES 12)."""
        return f"TokenNeed({self.key.hex()})"


class UserNeed(NamedTuple):
    """A user with its grants."""

    tenant: str
    subject: str


class RolesNeed(NamedTuple):
    """The role graph of a tenant.

    Tuples of different types are equal where their values are: the third place keeps it apart from
    `UserNeed`, whose subject may well be ``roles``.
    """

    tenant: str
    kind: str = "roles"
    of: str = "tenant"


StoreNeed = SessionNeed | UserNeed | RolesNeed
Need = StoreNeed | TokenNeed


def shard_of_need(need: StoreNeed) -> int:
    """The shard whose news speaks of `need`."""
    return need.shard % SHARDS if isinstance(need, SessionNeed) else shard_of(need.tenant)


class Absent(Enum):
    """The primary was asked and there is no such thing."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT

# What a look-up of a need can find. A refused token is a Denial (model.decision), kept as such.
Found = Session | User | RoleGraph | VerifiedToken | Absent
