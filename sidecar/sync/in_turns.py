"""Role graphs of Redis in slices, so that nobody waits while a large one is read or written.

In one piece 100 000 rules (3.6 MB) stop the loop for 9 to 12 ms while they are decoded,
and for 8 to 10 while they are encoded and packed. Here decoding stops it for half a millisecond at
a time, and once for 1 to 3, in which it is found where elements end; encoding for 3 to 5. What is
decoded is the same: arrays are parted where their elements end, and these are decoded as ever.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeVar

import msgspec

from sidecar.model.facts import Role, RoleGraph, Rule, Status
from sidecar.model.need import RolesNeed, StoreNeed
from sidecar.sync.keyspace import (
    Head,
    StoreFact,
    decode_fact,
    encode_fact,
    pack,
    size_of,
    unpack,
)

# Decoded at once: about half a millisecond.
AT_ONCE_BYTES: Final = 131_072
# A rule has 30 to 40 bytes.
_AT_ONCE_RULES: Final = 4_000
_LONGEST_ARRAY: Final = 0xDD  # MessagePack: array 32

T = TypeVar("T")


class ParsedGraph(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The fields of a `RoleGraph`, in their order, with its roles unread."""

    version: int
    tenant: str
    roles: list[msgspec.Raw] = []
    status: Status = Status.ACTIVE


class ParsedRole(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The fields of a `Role`, in their order, with its rules unread."""

    name: str
    parents: tuple[str, ...] = ()
    rules: list[msgspec.Raw] = []


_graph: Final = msgspec.msgpack.Decoder(ParsedGraph)
_role: Final = msgspec.msgpack.Decoder(ParsedRole)
_roles: Final = msgspec.msgpack.Decoder(list[Role])
_rules: Final = msgspec.msgpack.Decoder(list[Rule])
_encoder: Final = msgspec.msgpack.Encoder()


class Unread(NamedTuple):
    """A value that takes long to decode: in turns, of which others decide how long they are."""

    key: bytes
    need: StoreNeed
    blob: bytes
    head: Head

    async def read(self) -> StoreFact | None:
        """As `keyspace.decode_fact`."""
        return await decode_in_turns(*self)


def is_large(need: StoreNeed, blob: bytes) -> bool:
    """Whether `blob` takes long to decode."""
    return isinstance(need, RolesNeed) and size_of(blob) > AT_ONCE_BYTES


async def decode_in_turns(key: bytes, need: StoreNeed, blob: bytes, head: Head) -> StoreFact | None:
    """As `keyspace.decode_fact`; others have their turns meanwhile where that takes long."""
    if not is_large(need, blob):
        return decode_fact(key, need, blob, head)
    envelope = unpack(key, blob, head)
    if envelope is None:
        return None
    await asyncio.sleep(0)
    try:
        parsed = _graph.decode(envelope.payload)
        if parsed.version != envelope.version:
            return None
        return RoleGraph(
            version=parsed.version,
            tenant=parsed.tenant,
            roles=tuple(await _read_roles(parsed.roles)),
            status=parsed.status,
        )
    except (msgspec.MsgspecError, ValueError):
        return None


async def encode_in_turns(key: bytes, fact: StoreFact, head: Head) -> bytes | None:
    """As `keyspace.encode_fact`; others have their turns while what was encoded is packed."""
    if not isinstance(fact, RoleGraph) or _count(fact) <= _AT_ONCE_RULES:
        return encode_fact(key, fact, head)
    payload = _encoder.encode(fact)
    # Compressing takes as long again, and lets go of the interpreter.
    return await asyncio.to_thread(pack, key, fact.version, payload, head)


def _count(graph: RoleGraph) -> int:
    return len(graph.roles) + sum(len(role.rules) for role in graph.roles)


async def _read_roles(roles: Iterable[msgspec.Raw]) -> list[Role]:
    found: list[Role] = []
    small: list[msgspec.Raw] = []
    waiting = 0
    for raw in roles:
        size = memoryview(raw).nbytes
        if size <= AT_ONCE_BYTES:
            small.append(raw)
            waiting += size
        if waiting > AT_ONCE_BYTES or size > AT_ONCE_BYTES:
            found += await _decoded(_roles, small)
            small, waiting = [], 0
        if size > AT_ONCE_BYTES:
            found.append(await _read_role(raw))
    return found + await _decoded(_roles, small)


async def _read_role(raw: msgspec.Raw) -> Role:
    parsed = _role.decode(raw)
    await asyncio.sleep(0)
    rules: list[Rule] = []
    for begin in range(0, len(parsed.rules), _AT_ONCE_RULES):
        rules += await _decoded(_rules, parsed.rules[begin : begin + _AT_ONCE_RULES])
    return Role(parsed.name, parsed.parents, tuple(rules))


async def _decoded(decoder: msgspec.msgpack.Decoder[list[T]], raws: list[msgspec.Raw]) -> list[T]:
    """The elements `raws`, decoded at once; then it is somebody else's turn."""
    array = b"".join((bytes((_LONGEST_ARRAY,)), len(raws).to_bytes(4, "big"), *raws))
    found = decoder.decode(array)
    await asyncio.sleep(0)
    return found
