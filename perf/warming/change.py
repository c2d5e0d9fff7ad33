"""The first request after a change of roles or of the user, with and without revalidation."""

import asyncio
import random
from dataclasses import dataclass

from perf.warming.world import Sidecar, World
from sidecar.model.facts import Effect, Rule
from sidecar.model.need import RolesNeed, UserNeed
from sidecar.store.outbox import Outbox
from sidecar.store.roles import Roles
from sidecar.store.users import Users

# Between two requests of a principal, on average.
THINKING_SECONDS = (0.02, 0.1, 0.5)
# What is in memory answers well within; what has to be asked for does not.
SLOW_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Change:
    """What first requests after a change took.

    Attributes:
        kind: what was changed.
        thinking: seconds from the change to the request, on average.
        feature: whether ``revalidation`` was on.
        waited: share of requests that had to wait for a store.
    """

    kind: str
    thinking: float
    feature: bool
    waited: float


async def first_requests(world: World, rounds: int) -> list[Change]:
    """One row for each kind of change, time to think, and setting."""
    found = []
    for kind in ("roles", "user"):
        for thinking in THINKING_SECONDS:
            for feature in (False, True):
                async with world.sidecar({"revalidation": feature}) as sidecar:
                    waited = await _waited(world, sidecar, kind, thinking, rounds)
                found.append(Change(kind, thinking, feature, waited))
    return found


async def _waited(world: World, sidecar: Sidecar, kind: str, thinking: float, rounds: int) -> float:
    chance = random.Random(1)
    token, tenant, memory = world.tokens[0], "tenant-0", sidecar.deciding.memory
    need = RolesNeed(tenant) if kind == "roles" else UserNeed(tenant, "user-0")
    waited = 0
    for at in range(rounds):
        for _ in range(2):
            await sidecar.ask(token)
        await _change(sidecar, kind, tenant, at)
        assert not memory.is_used(need, 0.0)
        await asyncio.sleep(chance.expovariate(1 / thinking))
        sidecar.network.seconds = SLOW_SECONDS
        waited += await sidecar.ask(token) >= SLOW_SECONDS
        sidecar.network.seconds = 0.0
    return waited / rounds


async def _change(sidecar: Sidecar, kind: str, tenant: str, at: int) -> None:
    """Commits one, and waits until this sidecar has heard of it."""
    pool = sidecar.deciding.pool
    applied = sidecar.deciding.follower.applied
    if kind == "roles":
        rule = Rule(Effect.ALLOW, f"other-{at}:{random.getrandbits(30)}")
        changes = await Roles(pool).add_rule(tenant, "reader", rule)
    else:
        rule = Rule(Effect.ALLOW, f"other-{at}:{random.getrandbits(30)}")
        changes = await Users(pool).grant(tenant, "user-0", rule)
    assert changes
    assert await Outbox(pool).state(changes[0].shard)
    async with asyncio.timeout(10):
        while sidecar.deciding.follower.applied == applied:  # noqa: ASYNC110  # the relay's to tell
            await asyncio.sleep(0.001)
