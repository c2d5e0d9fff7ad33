"""A tenant to test with."""

from collections.abc import AsyncIterator

import pytest

from sidecar.model.facts import Effect, Rule
from sidecar.settings.schema import Redis
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.roles import Roles
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.redis_client import RedisClient


@pytest.fixture
async def acme(pool: Pool) -> str:
    """A tenant with the roles reader < editor and the user alice, an editor."""
    await Tenants(pool).create("acme", "Acme")
    roles, users = Roles(pool), Users(pool)
    await roles.create("acme", "reader")
    await roles.create("acme", "editor")
    await roles.inherit("acme", "editor", "reader")
    await roles.add_rule("acme", "reader", Rule(Effect.ALLOW, "orders:read"))
    await users.create("acme", "alice", "Alice")
    await users.assign("acme", "alice", "editor")
    return "acme"


@pytest.fixture
def outbox(pool: Pool) -> Outbox:
    """The outbox of the database."""
    return Outbox(pool)


@pytest.fixture
async def client(redis_settings: Redis) -> AsyncIterator[RedisClient]:
    """The client the product would use."""
    opened = open_client(redis_settings)
    yield opened
    await opened.aclose()


@pytest.fixture
def l2(client: RedisClient, redis_settings: Redis) -> RedisCache:
    """An empty second level under a prefix of its own."""
    return RedisCache(client, redis_settings.prefix, 60)
