"""What Redis answers, as values."""

from enum import StrEnum
from typing import NamedTuple

from sidecar.sync.in_turns import Unread
from sidecar.sync.keyspace import Head, StoreFact


class Outcome(StrEnum):
    """What Redis said to an invalidation."""

    DONE = "done"
    # Redis has not heard of earlier changes.
    GAP = "gap"
    # Its content belongs to another epoch.
    EPOCH = "epoch"
    # It does not know the shard: new, flushed, or evicted.
    SUSPECT = "suspect"


class Filling(StrEnum):
    """What became of a fill (R4)."""

    DONE = "done"
    # The shard has changed since the miss.
    HEAD = "head"
    # Redis's content has begun another life since.
    EPOCH = "epoch"
    # It does not know the shard any more.
    SUSPECT = "suspect"
    # The fact is larger than what is kept.
    SIZE = "size"


class Told(NamedTuple):
    """An outcome, and what Redis knows now (0 where it knows nothing)."""

    outcome: Outcome
    seq: int
    epoch: int


class Life(NamedTuple):
    """A life of a shard's content in Redis, as it was seen at one moment."""

    identity: str
    epoch: str
    nonce: str


class Look(NamedTuple):
    """What a read found.

    Attributes:
        fact: if it is there and was decoded.
        head: that a fill must carry, if it is known.
        unread: the fact, where decoding it takes longer than a question to Redis may.
    """

    fact: StoreFact | None
    head: Head | None
    unread: Unread | None = None


def head_of(fields: list[bytes] | None) -> Head | None:
    """The head in a script's answer; None where it answered "suspect"."""
    if not fields:
        return None
    seq, epoch, floor, _, incarnation = fields
    return Head(int(seq), int(epoch), int(floor), incarnation.decode())
