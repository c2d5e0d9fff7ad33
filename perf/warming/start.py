"""A start beside siblings that are in full use: how soon it is warm, and what that is worth."""

import time
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

import sidecar.sync.warming as warming_module
from perf.warming.world import Sidecar, World
from sidecar.clock import instant
from sidecar.model.need import RolesNeed, StoreNeed, UserNeed

SKEW = 0.9
FIRST_REQUESTS = 2000


@dataclass(frozen=True, slots=True)
class Start:
    """A start.

    Attributes:
        how: what was done.
        facts: that were loaded.
        seconds: loading them.
        ready_seconds: from nothing (but imports) to the end of loading: connections, first news.
    """

    how: str
    facts: int
    seconds: float
    ready_seconds: float


async def prime(world: World, users: int) -> None:
    """A sibling that uses all of them, and says so."""
    vars(warming_module)["_REPORTED"] = 2 * users  # all in one report
    async with world.sidecar(sessions=2 * users, users=2 * users) as sibling:
        deciding = sibling.deciding
        for number in range(users):
            await sibling.ask(world.tokens[number])
            # In use means: looked up several times, which takes some ten seconds of requests.
            for need in _needs(world, number) * 3:
                deciding.memory.find(need, instant())
        assert deciding.warmer is not None
        await deciding.warmer.report()


async def starts(world: World, users: int, rounds: int) -> list[Start]:
    """From Redis in batches, and as single loads."""
    most = 2 * users + len(set(world.tokens))
    batches, singles = [], []
    for _ in range(rounds):
        batches.append(await _start(world, most, batched=True))
        singles.append(await _start(world, most, batched=False))
    middle = rounds // 2
    return [
        sorted(batches, key=lambda each: each.seconds)[middle],
        sorted(singles, key=lambda each: each.seconds)[middle],
    ]


async def _start(world: World, most: int, *, batched: bool) -> Start:
    started = time.perf_counter()
    async with world.sidecar(
        warm_entries=most, warm_seconds=60.0, sessions=most, users=most
    ) as sidecar:
        tiers: Any = sidecar.deciding.tiers
        if not batched:

            async def none_of(needs: list[StoreNeed]) -> list[StoreNeed]:
                return needs

            tiers.load_many = none_of
        begun = time.perf_counter()
        await sidecar.deciding.warm()
        ended = time.perf_counter()
        assert sidecar.deciding.warmer is not None
        how = "in batches" if batched else "one by one, 16 at once"
        return Start(how, sidecar.deciding.warmer.warmed, ended - begun, ended - started)


async def hit_ratio(world: World, users: int, *, warming: bool) -> float:
    """Share of the first requests after a start that wait for no store (Zipf over the users)."""
    chance = Random(1)
    weights = [*accumulate(rank**-SKEW for rank in range(1, users + 1))]
    asked = chance.choices(range(users), cum_weights=weights, k=FIRST_REQUESTS)
    async with world.sidecar(
        {"warming": warming}, warm_entries=3 * users, warm_seconds=60.0
    ) as sidecar:
        await sidecar.deciding.warm()
        hits = 0
        for number in asked:
            hits += _knows(sidecar, world, number)
            await sidecar.ask(world.tokens[number])
    return hits / FIRST_REQUESTS


def _knows(sidecar: Sidecar, world: World, number: int) -> bool:
    memory, now = sidecar.deciding.memory, instant()
    return all(memory.knows(each, now) for each in _needs(world, number))


def _needs(world: World, number: int) -> list[StoreNeed]:
    """What a request of that user needs."""
    tenant = f"tenant-{number % 20}"
    return [world.need(number), UserNeed(tenant, f"user-{number}"), RolesNeed(tenant)]
