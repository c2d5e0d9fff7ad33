"""A change: one row of the outbox, one message on the bus (SYNC.md, "Truth")."""

from enum import StrEnum
from typing import NamedTuple


class ChangeKind(StrEnum):
    """What a change is about, hence what is to be forgotten."""

    USER = "user"
    ROLES = "roles"
    SESSION = "session"
    # Everything of the tenant: its status, or more of its users than are named one by one.
    TENANT = "tenant"
    # Everything of the shard.
    FLUSH = "flush"
    # On the bus only: Redis's content began a new life; the next heartbeat says which.
    EPOCH = "epoch"


class Change(NamedTuple):
    """One change of something that decisions depend on.

    Attributes:
        shard: its shard.
        seq: its sequence, without gaps in the shard, in the order of the commits.
        kind: what it is about.
        tenant: slug; empty for `ChangeKind.FLUSH`.
        subject: the user, for `ChangeKind.USER` and `ChangeKind.SESSION`.
        version: what the touched row carries from now on.
        payload: the digest of the session's token, for `ChangeKind.SESSION`.
    """

    shard: int
    seq: int
    kind: ChangeKind
    tenant: str
    subject: str = ""
    version: int = 0
    payload: bytes = b""


class ShardState(NamedTuple):
    """A row of ``auth_shard``: how far the shard is, and in which lives.

    Attributes:
        shard: its number.
        seq: the last sequence that was committed.
        epoch: the life of Redis's content that PostgreSQL chose last (R1).
        incarnation: the life of PostgreSQL's own data, with its timeline (R12).
    """

    shard: int
    seq: int
    epoch: int
    incarnation: str = ""


class Level(StrEnum):
    """How far a change has come (SYNC.md, acknowledgement levels)."""

    COMMITTED = "committed"
    PUBLISHED = "published"
    APPLIED = "applied"
