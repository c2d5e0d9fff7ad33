"""Names and encodings in Redis: one hash tag for each shard, one envelope for each value."""

from hashlib import blake2b
from typing import Final

import msgspec
import zstandard

from sidecar.clock import wall
from sidecar.model.change import Change, ChangeKind
from sidecar.model.facts import Fact, RoleGraph, Session, User
from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed, shard_of_need
from sidecar.model.shard import SHARDS

StoreFact = Session | User | RoleGraph

# Raise it when a fact changes in another way than by new fields with defaults at the end.
SCHEMA: Final = 2
# Below, compressing costs more than the bytes on the wire.
COMPRESS_BYTES: Final = 2048
# A role graph of 500 roles with 80 rules each has 1.5 MB; what is larger is read from PostgreSQL.
LARGEST_BYTES: Final = 4 * 1024 * 1024
# A user with more grants is read from PostgreSQL, whose answer is decoded in slices. Decoded in one
# piece, as values of Redis are, a hundred thousand stop the loop for 20 to 50 ms, and encoding them
# for another 20; these take about 1 ms. Counted, because bytes are known only after encoding.
MOST_GRANTS: Final = 5_000

_PLAIN: Final = b"\x00"
_ZSTD: Final = b"\x01"
_KINDS: Final[dict[type[StoreNeed], type[StoreFact]]] = {
    SessionNeed: Session,
    UserNeed: User,
    RolesNeed: RoleGraph,
}


class Head(msgspec.Struct, frozen=True, gc=False):
    """What Redis knows of a shard.

    Attributes:
        seq: the highest sequence it was told.
        epoch: the life of its content (R1).
        floor: what was filled before this sequence is no longer valid.
        incarnation: the life of PostgreSQL's data when the epoch began (R12).
    """

    seq: int
    epoch: int
    floor: int = 0
    incarnation: str = ""


class Envelope(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a value is wrapped in, so that a wrong one is a miss and never an answer.

    Attributes:
        schema: `SCHEMA` of the writer.
        epoch: the life of Redis's content it belongs to.
        filled_at: the head when it was read from PostgreSQL.
        version: the fact's.
        key: BLAKE2b of the key it was stored under, and of PostgreSQL's incarnation: sequences and
            epochs may come a second time after a restore (R12).
        payload: the fact, as a MessagePack array.
    """

    schema: int
    epoch: int
    filled_at: int
    version: int
    key: bytes
    payload: bytes


class News(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A change as it is published: `epoch`, the fields of `Change`, and when.

    New fields come at the end and have defaults: older releases skip what they do not know, and
    what older releases publish lacks it.

    Attributes:
        published_ms: the publisher's wall clock in milliseconds; 0 where it is not known.
    """

    epoch: int
    shard: int
    seq: int
    kind: ChangeKind
    tenant: str
    subject: str
    version: int
    payload: bytes
    published_ms: int = 0


_envelopes: Final = msgspec.msgpack.Decoder(Envelope)
_facts: Final = {kind: msgspec.msgpack.Decoder(fact) for kind, fact in _KINDS.items()}
_news: Final = msgspec.msgpack.Decoder(News)
_encoder: Final = msgspec.msgpack.Encoder()


class Keyspace:
    """The keys and channels under one prefix.

    Args:
        prefix: of every key and channel, so that deployments can share a Redis.
    """

    def __init__(self, prefix: str) -> None:
        # The braces make Redis Cluster keep a shard in one place.
        self._shards = [f"{prefix}:{{a{shard:02d}}}:" for shard in range(SHARDS)]
        self.channels = [name + "news" for name in self._shards]

    def head(self, shard: int) -> str:
        """Hash of `seq`, `epoch`, `floor`."""
        return self._shards[shard] + "head"

    def log(self, shard: int) -> str:
        """Stream of the changes, for sidecars that missed some."""
        return self._shards[shard] + "log"

    def members(self, shard: int) -> str:
        """Hash of the sidecars' last heartbeats."""
        return self._shards[shard] + "members"

    def used(self, shard: int) -> str:
        """Sorted set of what sidecars use most."""
        return self._shards[shard] + "used"

    def value(self, need: StoreNeed) -> bytes:
        """Where the fact for `need` is kept. Lengths make the parts unambiguous."""
        # Names in tokens may hold what UTF-8 cannot.
        return (self._shards[shard_of_need(need)] + _rest(need)).encode("utf-8", "surrogatepass")

    def touched(self, change: Change) -> bytes | None:
        """The value that `change` makes invalid; None where it makes all of the shard so."""
        match change.kind:
            case ChangeKind.USER:
                return self.value(UserNeed(change.tenant, change.subject))
            case ChangeKind.ROLES:
                return self.value(RolesNeed(change.tenant))
            case ChangeKind.SESSION:
                return self.value(SessionNeed(change.payload, change.shard))
            case ChangeKind.TENANT | ChangeKind.FLUSH | ChangeKind.EPOCH:
                return None


def _rest(need: StoreNeed) -> str:
    match need:
        case SessionNeed(digest=digest):
            return f"s:{digest.hex()}"
        case UserNeed(tenant=tenant, subject=subject):
            return f"u:{len(tenant)}:{tenant}:{subject}"
        case RolesNeed(tenant=tenant):
            return f"r:{tenant}"


def encode_fact(key: bytes, fact: StoreFact, head: Head) -> bytes | None:
    """`fact` in its envelope, as it is stored under `key`; None when it is too large."""
    if isinstance(fact, User) and len(fact.roles) + len(fact.rules) > MOST_GRANTS:
        return None
    return pack(key, fact.version, _encoder.encode(fact), head)


def pack(key: bytes, version: int, payload: bytes, head: Head) -> bytes | None:
    """`payload`, which a fact was encoded as, as it is stored; None when it is too large."""
    envelope = Envelope(SCHEMA, head.epoch, head.seq, version, _digest(key, head), payload)
    plain = _encoder.encode(envelope)
    if len(plain) > LARGEST_BYTES:
        return None
    if len(plain) < COMPRESS_BYTES:
        return _PLAIN + plain
    return _ZSTD + zstandard.ZstdCompressor().compress(plain)


def decode_fact(key: bytes, need: StoreNeed, blob: bytes, head: Head) -> StoreFact | None:
    """The fact in `blob`; None where schema, key, life or shape are others, or it is outdated."""
    envelope = unpack(key, blob, head)
    if envelope is None:
        return None
    try:
        fact: Fact = _facts[type(need)].decode(envelope.payload)
    except (msgspec.MsgspecError, ValueError):
        return None
    if not isinstance(fact, Session | User | RoleGraph) or fact.version != envelope.version:
        return None
    return fact


def unpack(key: bytes, blob: bytes, head: Head) -> Envelope | None:
    """The envelope in `blob`; None where it is none, of another key or life, or outdated."""
    try:
        envelope = _envelopes.decode(_unpacked(blob))
    except (msgspec.MsgspecError, zstandard.ZstdError, ValueError):
        return None
    if (
        envelope.schema != SCHEMA
        or envelope.key != _digest(key, head)
        or envelope.epoch != head.epoch
        or not head.floor <= envelope.filled_at <= head.seq
    ):
        return None
    return envelope


def size_of(blob: bytes) -> int:
    """Octets of the envelope in `blob` once it is unpacked; -1 where it does not say."""
    if blob[:1] != _ZSTD:
        return len(blob)
    try:
        return zstandard.frame_content_size(blob[1:])
    except zstandard.ZstdError:
        return -1


def _unpacked(blob: bytes) -> bytes:
    kind, packed = blob[:1], blob[1:]
    if kind == _PLAIN:
        return packed
    if kind != _ZSTD:
        raise ValueError("unknown packing")
    # The frame announces its size; nothing is allocated for more than is allowed.
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= LARGEST_BYTES:
        raise ValueError("too large, or of unknown size")
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)


def _digest(key: bytes, head: Head) -> bytes:
    # An incarnation has no NUL, so the two cannot be parted in another place.
    return blake2b(head.incarnation.encode() + b"\0" + key, digest_size=16).digest()


def encode_news(change: Change, epoch: int) -> bytes:
    """`change` as a message, published now."""
    return _encoder.encode((epoch, *change, int(wall() * 1000)))


def decode_news(message: bytes) -> News | None:
    """A message of ours; None for anything else."""
    try:
        return _news.decode(message)
    except msgspec.MsgspecError:
        return None
