"""Loading ahead on real stores, as the assembly wires it: sign-ins, changes, predictions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from sidecar.assembly.deciding import Deciding, open_deciding
from sidecar.authenticate.opaque import digest
from sidecar.clock import instant
from sidecar.model.facts import Effect, RoleGraph, Rule, User
from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache, Features, Redis, Root
from sidecar.store.pool import Pool
from sidecar.store.roles import Roles
from sidecar.store.users import Users
from sidecar.sync.tiers import Tier
from tests.integration.whole.conftest import settings

ALICE = UserNeed("acme", "alice")
ROLES = RolesNeed("acme")
RULE = Rule(Effect.ALLOW, "things:read")


@pytest.fixture
def root(database: str, redis_settings: Redis, acme: str) -> Root:
    """Settings of sidecars on one database and one Redis."""
    assert acme
    made = settings(database, redis_settings.url, "http://127.0.0.1:1")
    stores = msgspec.structs.replace(made.stores, redis=redis_settings)
    return msgspec.structs.replace(made, stores=stores, cache=Cache(heartbeat_seconds=0.05))


@asynccontextmanager
async def deciding(root: Root, **features: bool) -> AsyncIterator[Deciding]:
    """A sidecar without listeners, whose news flow."""
    async with open_deciding(msgspec.structs.replace(root, features=Features(**features))) as one:
        async with asyncio.timeout(10):
            await one.news.following.wait()
        yield one


def knows(one: Deciding, *needs: StoreNeed) -> bool:
    return all(one.memory.knows(need, instant()) for need in needs)


async def used(one: Deciding, *needs: StoreNeed) -> None:
    """Each is asked for, and found once more."""
    for need in needs:
        await one.tiers.load(need, instant())
        assert (await one.tiers.load(need, instant())).tier is Tier.MEMORY


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def signed_in(one: Deciding) -> tuple[StoreNeed, ...]:
    issued = await one.sessions.issue("acme", "alice", 60.0)
    return SessionNeed(digest(issued.token), shard_of("acme")), ALICE, ROLES


async def test_who_signs_in_is_known_here_and_found_in_redis_by_siblings(root: Root) -> None:
    async with deciding(root) as here, deciding(root) as sibling:
        needs = await signed_in(here)
        await until(lambda: knows(here, *needs))
        assert here.anticipation is not None
        assert here.anticipation.counts["sign-in"] == 3
        assert not any(knows(sibling, need) for need in needs)
        # Filling Redis comes after what it fills with.
        assert here.tiers._levels.redis is not None
        async with asyncio.timeout(10):
            for need in needs:
                while (await here.tiers._levels.redis.look(need)).fact is None:
                    await asyncio.sleep(0.002)
        tiers = [(await sibling.tiers.load(need, instant())).tier for need in needs]
        assert tiers == [Tier.REDIS] * 3


async def test_sign_in_warming_can_be_off(root: Root) -> None:
    async with deciding(root, sign_in_warming=False) as one:
        needs = await signed_in(one)
        assert len(one.tiers._flights) == 0
        assert not any(knows(one, need) for need in needs)


async def test_what_was_in_use_and_has_changed_is_there_before_anybody_asks(
    root: Root, pool: Pool
) -> None:
    async with deciding(root) as one:
        await used(one, ALICE, ROLES)
        await Roles(pool).add_rule("acme", "reader", RULE)
        await Users(pool).grant("acme", "alice", RULE)
        assert one.anticipation is not None
        await until(lambda: one.anticipation is not None and one.anticipation.counts["change"] == 2)
        await until(lambda: knows(one, ALICE, ROLES))
        roles = one.memory.find(ROLES, instant())
        user = one.memory.find(ALICE, instant())
        assert isinstance(roles, RoleGraph)
        assert any(RULE in role.rules for role in roles.roles)
        assert isinstance(user, User)
        assert [grant.rule for grant in user.rules] == [RULE]


@pytest.mark.parametrize("why", ["feature", "unused"])
async def test_what_is_not_in_use_is_left_alone(root: Root, pool: Pool, why: str) -> None:
    async with deciding(root, revalidation=why != "feature") as one:
        await one.tiers.load(ROLES, instant())
        if why != "unused":
            await used(one, ROLES)
        applied = one.follower.applied
        await Roles(pool).add_rule("acme", "reader", RULE)
        await until(lambda: one.follower.applied > applied)
        assert one.anticipation is not None
        assert not one.anticipation._changed
        assert not knows(one, ROLES)


@pytest.mark.parametrize("on", [True, False])
async def test_a_session_that_memory_lost_comes_with_its_user_and_roles(
    root: Root, on: bool
) -> None:
    async with deciding(root, prediction=on) as one:
        session, *others = await signed_in(one)
        await used(one, session, *others)
        one.memory.flush()
        loading = asyncio.create_task(one.tiers.load(session, instant()))
        # One turn of the loop: the reads have begun, and none has ended.
        await asyncio.sleep(0)
        assert len(one.tiers._flights) == (3 if on else 1)
        await loading
        if on:
            await until(lambda: knows(one, *others))


async def test_nothing_is_loaded_ahead_into_no_memory(root: Root) -> None:
    async with deciding(root, memory_cache=False) as one:
        assert one.anticipation is None
        await signed_in(one)
        assert len(one.tiers._flights) == 0
