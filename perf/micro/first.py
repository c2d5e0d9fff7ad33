"""How long the loop stands still when something large is used for the first time.

A user with many grants, and a user of a tenant with many roles: decoding what PostgreSQL sent,
keeping it, the first decision. Beside it a ticker asks for its turn again and again; what it waits
is what every other request would.
Run: python -m perf.micro.first
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from perf.micro.decide import INSTANT, WALL, head_of, snapshot_of, user_of, with_session
from sidecar.authorize.permit import Permit
from sidecar.decide import decide
from sidecar.model.decision import Missing
from sidecar.model.facts import Effect, Role, RoleGrant, RoleGraph, Rule, User
from sidecar.model.need import RolesNeed, UserNeed
from sidecar.store.facts import decode_grants, decode_roles, decode_rules

ROUNDS: Final = 5
GRANTS: Final = (1_000, 10_000, 100_000)
ROLES: Final = 500
RULES: Final = 80


async def grants(count: int) -> None:
    """A user with `count` grants: half of them roles, half of them rules, on single resources."""
    user = user_of(count)
    texts = [msgspec.json.encode(part).decode() for part in (user.roles, user.rules)]

    async def first() -> object:
        roles, rules = await decode_grants(texts[0]), await decode_rules(texts[1])
        loaded = User(version=2, tenant="acme", subject="ann", roles=roles, rules=rules)
        return await decided(loaded, None, f"/api/v1/things0/{count // 2 - 1}/parts/1")

    await report(f"{count} grants", first)


async def graph() -> None:
    """A user with all of `ROLES` roles of `RULES` rules each."""
    names = [f"role-{at}" for at in range(ROLES)]
    roles = tuple(
        Role(name, (), tuple(Rule(Effect.ALLOW, f"{name}:{at}") for at in range(RULES)))
        for name in (*names[:-1], "things")
    )
    text = msgspec.json.encode(roles).decode()
    held = tuple(RoleGrant(role.name) for role in roles)
    allowed = (*held, RoleGrant("all"))

    async def first() -> object:
        decoded = await decode_roles(text)
        rule = Role("all", (), (Rule(Effect.ALLOW, "things:read"),))
        user = User(version=2, tenant="acme", subject="ann", roles=allowed)
        loaded = RoleGraph(version=2, tenant="acme", roles=(*decoded, rule))
        return await decided(user, loaded, "/api/v1/things0/1/parts/1")

    await report(f"{ROLES} roles of {RULES} rules", first)


async def decided(user: User, graph: RoleGraph | None, path: str) -> object:
    """The first decision about `user`, led as the pipeline does."""
    snapshot, credentials = snapshot_of(1, 10)
    head = head_of(path, with_session(snapshot, credentials))
    snapshot.memory.put(UserNeed("acme", "ann"), user, INSTANT)
    if graph is not None:
        snapshot.memory.put(RolesNeed("acme"), graph, INSTANT)
    outcome = decide(head, WALL, INSTANT, snapshot)
    while isinstance(outcome, Missing):
        work = outcome.work
        assert work is not None
        while not work.advance():  # noqa: ASYNC110  as the pipeline
            await asyncio.sleep(0)
        outcome = decide(head, WALL, INSTANT, snapshot, done=work)
    assert isinstance(outcome, Permit), outcome
    return snapshot, user


async def report(name: str, first: Callable[[], Awaitable[object]]) -> None:
    longest, whole, freed = [], [], []
    for _ in range(ROUNDS):
        gc.collect()
        gc.freeze()
        waits: list[float] = []
        ticker = asyncio.create_task(tick(waits))
        await asyncio.sleep(0)
        begun = time.perf_counter()
        kept = [await first()]
        whole.append(time.perf_counter() - begun)
        await asyncio.sleep(0)
        ticker.cancel()
        longest.append(max(waits))
        gc.unfreeze()
        # Nothing can do that in slices: it happens when the last one lets go.
        begun = time.perf_counter()
        kept.clear()
        freed.append(time.perf_counter() - begun)
    longest.sort()
    whole.sort()
    freed.sort()
    print(
        f"{name:28}{longest[ROUNDS // 2] * 1e3:12.1f}{longest[-1] * 1e3:12.1f}"
        f"{whole[ROUNDS // 2] * 1e3:12.1f}{freed[ROUNDS // 2] * 1e3:12.1f}"
    )


async def tick(waits: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0)
        waits.append(time.perf_counter() - begun)


async def main() -> None:
    print(f"{'':28}{'longest ms':>12}{'of 5 runs':>12}{'all ms':>12}{'freeing ms':>12}")
    for count in GRANTS:
        await grants(count)
    await graph()


if __name__ == "__main__":
    asyncio.run(main())
