"""Decoding what PostgreSQL sends: in slices the same as at once, and never long at a stretch."""

import asyncio

import msgspec
import pytest

from sidecar.model.facts import Effect, Role, RoleGrant, Rule, RuleGrant
from sidecar.store import facts
from sidecar.store.facts import decode_grants, decode_roles, decode_rules

# Texts that look like the seams of the list.
AWKWARD = ["], [", '"],["', '\\"], [\\', "é\u2028", "[[[", "*"]


@pytest.mark.parametrize("count", [0, 1, 6, 7, 5_000])
async def test_long_and_short_lists_mean_the_same(count: int) -> None:
    grants = tuple(
        RoleGrant(f"r{at}", AWKWARD[at % len(AWKWARD)], at % 3 / 2 or None) for at in range(count)
    )
    assert await decode_grants(msgspec.json.encode(grants).decode()) == grants
    rules = tuple(
        RuleGrant(Rule(Effect.DENY, AWKWARD[at % len(AWKWARD)], f"o/{at}")) for at in range(count)
    )
    assert await decode_rules(msgspec.json.encode(rules).decode()) == rules
    roles = tuple(
        Role(f"r{at}", ("p",), tuple(rule.rule for rule in rules[:3])) for at in range(count)
    )
    assert await decode_roles(msgspec.json.encode(roles).decode()) == roles


@pytest.mark.parametrize("at_once", [1, 100, 10_000])
async def test_the_seams_may_be_anywhere(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(facts, "_AT_ONCE", at_once)
    grants = tuple(RoleGrant(text * length) for text in AWKWARD for length in range(1, 20))
    assert await decode_grants(msgspec.json.encode(grants).decode()) == grants


async def test_others_get_their_turn_meanwhile() -> None:
    text = msgspec.json.encode([RoleGrant("reader", f"o/{at}") for at in range(50_000)]).decode()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(others())
    assert len(await decode_grants(text)) == 50_000
    busy.cancel()
    assert turns >= len(text) // facts._AT_ONCE


@pytest.mark.parametrize("text", ["[", "[1]", '[["reader", 5]]', "{}"])
async def test_what_is_no_list_of_grants_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    for at_once in (1_000, 0):
        monkeypatch.setattr(facts, "_AT_ONCE", at_once)
        with pytest.raises(msgspec.DecodeError):
            await decode_grants(text)
