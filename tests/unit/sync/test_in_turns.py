"""Role graphs in slices: the same as in one piece, and others have their turns meanwhile."""

import asyncio
from typing import Self

import msgspec
import pytest

from sidecar.model.facts import Effect, Role, RoleGraph, Rule, Session, Status
from sidecar.model.need import RolesNeed, SessionNeed
from sidecar.sync import in_turns
from sidecar.sync.in_turns import (
    AT_ONCE_BYTES,
    ParsedGraph,
    ParsedRole,
    decode_in_turns,
    encode_in_turns,
)
from sidecar.sync.keyspace import Head, decode_fact, encode_fact, pack

KEY = b"key"
HEAD = Head(9, 2, 3, "life")
NEED = RolesNeed("acme")


def role(name: str, rules: int, *parents: str) -> Role:
    return Role(
        name,
        parents,
        tuple(Rule(Effect.ALLOW, f"orders:act{each}", f"orders/{name}/*") for each in range(rules)),
    )


def graph(*sizes: int) -> RoleGraph:
    roles = tuple(role(f"role{at}", size, f"role{at + 1}") for at, size in enumerate(sizes))
    return RoleGraph(version=7, tenant="acme", roles=roles, status=Status.DISABLED)


GRAPHS = {
    "nothing": graph(),
    "small": graph(3, 0, 5),
    "many-roles": graph(*[1] * 20_000),
    "as-documented": graph(*[80] * 500),
    "one-role": graph(40_000),
    "large-among-small": graph(80, 20_000, 0, 80, 20_000, 20_000, *[80] * 200),
}


class Turns:
    """Counts the turns of the loop that others had."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.mark.parametrize("name", GRAPHS)
async def test_it_is_the_same_as_in_one_piece(name: str) -> None:
    fact = GRAPHS[name]
    blob = await encode_in_turns(KEY, fact, HEAD)
    assert blob is not None
    assert blob == encode_fact(KEY, fact, HEAD)
    assert await decode_in_turns(KEY, NEED, blob, HEAD) == fact
    assert decode_fact(KEY, NEED, blob, HEAD) == fact


@pytest.mark.parametrize(
    "name", ["many-roles", "as-documented", "one-role", "large-among-small"]
)  # fmt: skip
async def test_others_have_turns_for_each_slice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fact = GRAPHS[name]
    pieces: list[int] = []

    class Watched:
        """Notes how much is decoded at once."""

        def __init__(self, decoder: msgspec.msgpack.Decoder[list[Role]]) -> None:
            self._decoder = decoder

        def decode(self, octets: bytes) -> list[Role]:
            pieces.append(len(octets))
            return self._decoder.decode(octets)

    monkeypatch.setattr(in_turns, "_roles", Watched(in_turns._roles))
    monkeypatch.setattr(in_turns, "_rules", Watched(in_turns._rules))  # type: ignore[arg-type] # as good
    async with Turns() as turns:
        blob = await encode_in_turns(KEY, fact, HEAD)
        assert turns.count >= 1
        assert blob is not None
        before = turns.count
        assert await decode_in_turns(KEY, NEED, blob, HEAD) == fact
        assert turns.count - before >= len(pieces) >= 4
    assert max(pieces) <= 2 * AT_ONCE_BYTES


async def test_small_values_take_no_turn() -> None:
    session = Session(
        version=1, id="s", tenant="acme", subject="bob", expires_at=1.0, revoked_at=None
    )
    async with Turns() as turns:
        blob = await encode_in_turns(KEY, session, HEAD)
        assert blob is not None
        assert await decode_in_turns(KEY, SessionNeed(b"d", 0), blob, HEAD) == session
        small = await encode_in_turns(KEY, GRAPHS["small"], HEAD)
        assert small is not None
        assert await decode_in_turns(KEY, NEED, small, HEAD) == GRAPHS["small"]
        assert turns.count == 0


async def test_what_is_wrong_is_a_miss() -> None:
    fact = GRAPHS["large-among-small"]
    payload = msgspec.msgpack.encode(fact)
    good = pack(KEY, fact.version, payload, HEAD)
    assert good is not None
    assert await decode_in_turns(KEY, NEED, good, HEAD) == fact
    wrong = [
        pack(KEY, fact.version + 1, payload, HEAD),
        pack(b"other", fact.version, payload, HEAD),
        pack(KEY, fact.version, payload, Head(9, 1, 3, "life")),
        pack(KEY, fact.version, payload[:-9], HEAD),
        pack(KEY, fact.version, payload.replace(b"orders:act19999", b"orders:act1999\xff"), HEAD),
        pack(KEY, fact.version, payload.replace(b"\xa5allow", b"\xa5grant", 1), HEAD),
        good[:1] + b"no frame" + bytes(AT_ONCE_BYTES),
        b"\x00" + bytes(2 * AT_ONCE_BYTES),
        b"\x02" + bytes(2 * AT_ONCE_BYTES),
    ]
    for blob in wrong:
        assert blob is not None
        assert blob != good
        assert await decode_in_turns(KEY, NEED, blob, HEAD) is None
        assert decode_fact(KEY, NEED, blob, HEAD) is None


@pytest.mark.parametrize(("parsed", "whole"), [(ParsedGraph, RoleGraph), (ParsedRole, Role)])
def test_the_fields_are_those_of_the_whole(
    parsed: type[msgspec.Struct], whole: type[msgspec.Struct]
) -> None:
    """A field that is added to a fact would be lost without a word."""
    assert parsed.__struct_fields__ == whole.__struct_fields__
