"""A request whose session, user and roles memory has lost, with and without prediction."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from perf.warming.world import Sidecar, World

# A network so slow that what else a request does is nothing beside it: latency counts rounds.
SLOW_SECONDS = 0.05
SLOW_ROUNDS = 15
Feature = bool
# A budget for more cold requests a second than come in earnest.
MANY = 100_000


@dataclass(frozen=True, slots=True)
class Cold:
    """What a cold request took.

    Attributes:
        stores: which store had it.
        feature: whether ``prediction`` was on.
        p50: milliseconds, with stores on this machine.
        p99: the same.
        rounds: one after the other, to the stores.
    """

    stores: str
    feature: bool
    p50: float
    p99: float
    rounds: float


async def cold_requests(world: World, rounds: int) -> list[Cold]:
    """From Redis, then from PostgreSQL; with and without, by turns."""
    found = []
    for stores, redis in (("Redis", True), ("PostgreSQL", False)):
        without, with_ = {"prediction": False, "redis_cache": redis}, {"redis_cache": redis}
        async with (
            world.sidecar(without, anticipated_per_second=MANY) as plain,
            world.sidecar(with_, anticipated_per_second=MANY) as ahead,
        ):
            taken: dict[bool, list[float]] = {False: [], True: []}
            for at in range(rounds):
                for feature, sidecar in ((False, plain), (True, ahead)):
                    taken[feature].append(await _cold(sidecar, world.tokens[at % 200]))
            # The first ones teach.
            slow = {False: await _slow(plain, world), True: await _slow(ahead, world)}
            assert ahead.deciding.anticipation is not None
            assert ahead.deciding.anticipation.counts["prediction"]
        found += [_figures(stores, feature, taken[feature], slow[feature]) for feature in taken]
    return found


async def _cold(sidecar: Sidecar, token: str) -> float:
    sidecar.deciding.memory.flush()
    return await sidecar.ask(token)


async def _slow(sidecar: Sidecar, world: World) -> float:
    sidecar.network.seconds = SLOW_SECONDS
    taken = [await _cold(sidecar, world.tokens[at]) for at in range(SLOW_ROUNDS)]
    sidecar.network.seconds = 0.0
    return statistics.median(taken)


def _figures(stores: str, feature: Feature, taken: Sequence[float], slow: float) -> Cold:
    ordered = sorted(1000 * each for each in taken[200:])
    return Cold(
        stores,
        feature,
        ordered[len(ordered) // 2],
        ordered[len(ordered) * 99 // 100],
        slow / SLOW_SECONDS,
    )
