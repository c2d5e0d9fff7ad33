"""Releases that run side by side share a Redis: what another one wrote is read right, or a miss.

The other release is played by its encodings: facts, envelopes, news and favourites with a field
more or fewer, another `SCHEMA`, kinds nobody here knows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Final

import msgspec
import pytest
import redis.asyncio

from sidecar.cache.following import Beat
from sidecar.cache.memory import Memory
from sidecar.model.change import Change, ChangeKind, ShardState
from sidecar.model.facts import Fact, Role, RoleGraph, Session, Status, User
from sidecar.model.need import RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import SHARDS, shard_of
from sidecar.settings.schema import Cache, Redis
from sidecar.store.change import changes_of
from sidecar.sync import keyspace
from sidecar.sync.follower import Follower
from sidecar.sync.keyspace import Head, decode_fact, decode_news, encode_fact, encode_news
from sidecar.sync.redis_cache import Filling, Look, RedisCache, open_client
from sidecar.sync.warming import decode_need, encode_need

SHARD: Final = shard_of("acme")
HEAD: Final = Head(5, 1, 5)
ANN: Final = UserNeed("acme", "ann")
ROLES: Final = RolesNeed("acme")
SESSION: Final = SessionNeed(b"\x07" * 32, SHARD)
FACTS: Final[list[tuple[Any, Any]]] = [
    (ANN, User(version=5, tenant="acme", subject="ann")),
    (ROLES, RoleGraph(version=5, tenant="acme", roles=(Role("reader"),), status=Status.DISABLED)),
    (SESSION, Session(version=5, id="one", tenant="acme", subject="ann", expires_at=9e9)),
]
IDS: Final = ["user", "roles", "session"]
KEY: Final = b"somewhere"


def unpacked(blob: bytes) -> list[Any]:
    """The fields of an envelope; the last is the fact."""
    envelope: list[Any] = msgspec.msgpack.decode(blob[1:])
    return envelope


def packed(envelope: list[Any]) -> bytes:
    return b"\x00" + msgspec.msgpack.encode(envelope)


def written(fact: Any) -> list[Any]:
    blob = encode_fact(KEY, fact, HEAD)
    assert blob is not None
    return unpacked(blob)


def with_fact(envelope: list[Any], change: Callable[[list[Any]], list[Any]]) -> bytes:
    """The envelope, its fact another."""
    fields: list[Any] = msgspec.msgpack.decode(envelope[5])
    return packed([*envelope[:5], msgspec.msgpack.encode(change(fields)), *envelope[6:]])


@pytest.mark.parametrize(("need", "fact"), FACTS, ids=IDS)
def test_a_fact_with_a_field_more_is_read(need: Any, fact: Any) -> None:
    """What a newer release adds goes to the end, and does not change what was there."""
    blob = with_fact(written(fact), lambda fields: [*fields, {"any": ["thing"]}])
    assert decode_fact(KEY, need, blob, HEAD) == fact


@pytest.mark.parametrize(("need", "fact"), FACTS, ids=IDS)
def test_a_fact_with_fewer_fields_is_read_with_defaults_or_is_a_miss(need: Any, fact: Any) -> None:
    """Cut at any place: never an answer that differs in what is there."""
    fields = msgspec.msgpack.decode(written(fact)[5])
    names = type(fact).__struct_fields__
    read = 0
    for length in range(len(fields)):
        blob = with_fact(written(fact), itemgetter(slice(length)))
        found = decode_fact(KEY, need, blob, HEAD)
        if found is None:
            continue
        read += 1
        for name in names[:length]:
            assert getattr(found, name) == getattr(fact, name)
        for name, default in zip(names[length:], _defaults(type(fact))[length:], strict=True):
            assert getattr(found, name) == default
    # Only what has defaults can be left out: an older release that knew less is read.
    assert read == sum(default is not msgspec.NODEFAULT for default in _defaults(type(fact)))


def _defaults(of: type[Fact]) -> list[Any]:
    return [field.default for field in msgspec.structs.fields(of)]


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: [fields[0], 7, *fields[2:]],
        lambda fields: [None, *fields[1:]],
        lambda fields: dict(enumerate(fields)),
        lambda fields: [fields],
        lambda fields: [fields[0] + 1, *fields[1:]],
    ],
    ids=["another type", "no version", "a map", "nested", "another version"],
)
@pytest.mark.parametrize(("need", "fact"), FACTS, ids=IDS)
def test_a_fact_of_another_shape_is_a_miss(
    need: Any, fact: Any, change: Callable[[list[Any]], Any]
) -> None:
    assert decode_fact(KEY, need, with_fact(written(fact), change), HEAD) is None


@pytest.mark.parametrize("status", ["suspended", 7, None])
def test_a_status_nobody_knows_is_a_miss(status: object) -> None:
    """A newer release may know more than active and disabled: that is not active here."""
    _, user = FACTS[0]
    place = User.__struct_fields__.index("status")
    blob = with_fact(written(user), lambda fields: [*fields[:place], status, *fields[place + 1 :]])
    assert decode_fact(KEY, ANN, blob, HEAD) is None


def test_an_envelope_with_a_field_more_is_read() -> None:
    _, user = FACTS[0]
    assert decode_fact(KEY, ANN, packed([*written(user), "signature"]), HEAD) == user


@pytest.mark.parametrize("length", range(6))
def test_an_envelope_with_fewer_fields_is_a_miss(length: int) -> None:
    _, user = FACTS[0]
    assert decode_fact(KEY, ANN, packed(written(user)[:length]), HEAD) is None


@pytest.mark.parametrize("schema", [0, keyspace.SCHEMA + 1, "1", None])
def test_another_schema_is_a_miss(schema: object) -> None:
    _, user = FACTS[0]
    assert decode_fact(KEY, ANN, packed([schema, *written(user)[1:]]), HEAD) is None


# The news

CHANGE: Final = Change(SHARD, 6, ChangeKind.USER, "acme", "ann", 6, b"\x07")
# Epoch and the fields of a change: what the first release wrote.
_FIRST_RELEASE: Final = 1 + len(Change._fields)


def fields_of(message: bytes) -> list[Any]:
    fields: list[Any] = msgspec.msgpack.decode(message)
    return fields


def test_news_of_the_first_release_is_read() -> None:
    message = msgspec.msgpack.encode(fields_of(encode_news(CHANGE, 3))[:_FIRST_RELEASE])
    found = decode_news(message)
    assert found is not None
    assert (found.epoch, *(getattr(found, name) for name in Change._fields)) == (3, *CHANGE)


def test_the_first_release_reads_our_news() -> None:
    """Its decoder, as it was."""
    first = msgspec.defstruct(
        "News",
        [("epoch", int), ("shard", int), ("seq", int), ("kind", ChangeKind), ("tenant", str),
         ("subject", str), ("version", int), ("payload", bytes)],
        array_like=True,
    )  # fmt: skip
    found = msgspec.msgpack.decode(encode_news(CHANGE, 3), type=first)
    assert tuple(getattr(found, name) for name in Change._fields) == tuple(CHANGE)


def test_news_with_fields_more_is_read() -> None:
    message = msgspec.msgpack.encode([*fields_of(encode_news(CHANGE, 3)), "more", 7])
    assert decode_news(message) == decode_news(msgspec.msgpack.encode(fields_of(message)[:9]))


@pytest.mark.parametrize("length", range(_FIRST_RELEASE))
def test_news_with_fields_fewer_is_none(length: int) -> None:
    message = msgspec.msgpack.encode(fields_of(encode_news(CHANGE, 3))[:length])
    assert decode_news(message) is None


class _Flights:
    """Nothing is read."""

    def doom(self, need: object) -> None: ...

    def doom_tenant(self, tenant: str) -> None: ...

    def doom_all(self) -> None: ...

    def reached(self, shard: int, seq: int) -> None: ...


def test_news_of_an_unknown_kind_ends_the_lease_until_it_is_made_up_for() -> None:
    """It is not understood, hence not applied: the next heartbeat finds it missing."""
    memory = Memory(Cache(), jitter=lambda: 0.5)
    follower = Follower(memory, _Flights(), 1.5)
    for _ in range(2):
        for shard in range(SHARDS):
            follower.beaten(shard, 10.0, Beat(5, 1, ""), 10.0)
    memory.put(ANN, FACTS[0][1], 10.0)
    fields = fields_of(encode_news(CHANGE, 1))
    fields[3] = "group"
    assert decode_news(msgspec.msgpack.encode(fields)) is None
    # Nothing was heard; within a lease the heartbeat says that Redis knows more.
    follower.beaten(SHARD, 10.5, Beat(6, 1, ""), 10.5)
    assert memory.find(ANN, 11.45) is None
    [missing] = follower.missing(10.6)
    assert (missing.shard, missing.first, missing.last) == (SHARD, 6, 6)
    # The log gives it again and is not understood again; the outbox knows what to do with it.
    [change] = changes_of([(SHARD, 6, "group", "acme", "x", 6, b"")])
    assert change.kind is ChangeKind.FLUSH
    follower.replay(missing, [keyspace.News(0, *change)], 10.6)
    follower.beaten(SHARD, 10.7, Beat(6, 1, ""), 10.7)
    assert memory.is_leased(SHARD, 10.8)
    assert memory.find(ANN, 10.8) is None


# Favourites


@pytest.mark.parametrize("need", [ANN, ROLES, SESSION])
def test_favourites_are_read_by_their_own_kind(need: Any) -> None:
    assert decode_need(encode_need(need)) == need


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"\xff\xff",
        msgspec.msgpack.encode(("g", "acme", "group")),
        msgspec.msgpack.encode(("u", "acme")),
        msgspec.msgpack.encode(("u", "acme", "ann", "more")),
        msgspec.msgpack.encode(("s", "text", 3)),
        msgspec.msgpack.encode(("u", b"acme", "ann")),
        msgspec.msgpack.encode({"u": "acme"}),
        msgspec.msgpack.encode(7),
    ],
)
def test_unknown_favourites_are_left_alone(member: bytes) -> None:
    assert decode_need(member) is None


# Two releases on one server


@contextmanager
def release(schema: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What runs inside is of the release with this schema."""
    with monkeypatch.context() as patched:
        patched.setattr(keyspace, "SCHEMA", schema)
        yield


async def test_two_releases_fill_and_read_by_turns(
    redis_settings: Redis, monkeypatch: pytest.MonkeyPatch, redis_client: redis.asyncio.Redis
) -> None:
    """Each reads what it wrote itself; what the other wrote is a miss and is written over."""
    old_client, new_client = open_client(redis_settings), open_client(redis_settings)
    caches = {
        1: RedisCache(old_client, redis_settings.prefix, 60),
        2: RedisCache(new_client, redis_settings.prefix, 60),
    }
    assert await caches[1].establish(ShardState(SHARD, 5, 1))
    for turn in range(8):
        mine, other = (1, 2) if turn % 2 else (2, 1)
        for need, fact in FACTS:
            with release(mine, monkeypatch):
                miss = await caches[mine].look(need)
                assert miss.head is not None
                assert miss.fact is None
                assert await caches[mine].fill(need, fact, miss.head) is Filling.DONE
                assert await caches[mine].look(need) == Look(fact, miss.head)
            with release(other, monkeypatch):
                assert await caches[other].look(need) == Look(None, miss.head)
        # A revocation by either is one for both.
        state = ShardState(SHARD, 6 + turn, 1)
        change = Change(SHARD, 6 + turn, ChangeKind.USER, "acme", "ann", 6 + turn)
        await caches[other].invalidate(state, [change])
        with release(mine, monkeypatch):
            assert (await caches[mine].look(ANN)).fact is None
    assert await redis_client.exists(caches[1].keys.value(ROLES))
    await old_client.aclose()
    await new_client.aclose()
