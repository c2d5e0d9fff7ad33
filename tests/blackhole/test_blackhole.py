"""Redis vanishes as a host does: no packet comes back, no connection is reset.

Opt-in with ``SIDECAR_NAMESPACES=1``: it needs network namespaces. The test runs itself again inside
one, with its own PostgreSQL; Valkey is in another.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from sidecar.assembly.deciding import open_deciding
from sidecar.clock import instant
from sidecar.model.change import Level
from sidecar.model.facts import Status, User
from sidecar.model.need import UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Root
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.tiers import Tier
from tests.blackhole.namespaces import UNSHARED, Cable, distant_valkey, why_not

_INSIDE: Final = "SIDECAR_NAMESPACE_INSIDE"
ANN: Final = UserNeed("acme", "ann")
LEASE_SECONDS: Final = 0.6
# Recovery within five seconds (promise 18).
RECOVERY_SECONDS: Final = 5.0


@pytest.mark.skipif(
    "SIDECAR_NAMESPACES" not in os.environ or _INSIDE in os.environ, reason="SIDECAR_NAMESPACES=1"
)
def test_a_redis_that_vanishes() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    inner = (
        f"ip link set lo up && exec {sys.executable} -m pytest -q -p no:cacheprovider {__file__}"
    )
    ended = subprocess.run(
        [*UNSHARED, "sh", "-c", inner],
        env={**os.environ, _INSIDE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    with distant_valkey(tmp_path) as laid:
        yield laid


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.skipif(_INSIDE not in os.environ, reason="runs inside the namespace")
async def test_inside(pool: Pool, database: str, cable: Cable) -> None:
    root = msgspec.convert(
        {
            "upstreams": {"app": {"url": "http://127.0.0.1:1"}},
            "stores": {
                "postgres": {"dsn": database},
                "redis": {"url": cable.url, "command_seconds": 0.1, "connect_seconds": 0.2},
                "load_seconds": 0.5,
            },
            "cache": {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.1},
            "credentials": {"token_key": "k" * 32},
            "routes": [{"path": "/", "access": "public"}],
        },
        Root,
    )
    assert root.stores.redis is not None
    await Tenants(pool).create("acme")
    await Users(pool).create("acme", "ann")
    client = open_client(root.stores.redis)
    publisher = Publisher(RedisCache(client, root.stores.redis.prefix, 60), Outbox(pool))
    async with open_deciding(root) as deciding:

        def leased() -> bool:
            return deciding.memory.is_leased(shard_of("acme"), instant())

        async def ask() -> tuple[Status, Tier]:
            loaded = await deciding.tiers.load(ANN, instant())
            assert isinstance(loaded.fact, User)
            return loaded.fact.status, loaded.tier

        await until(deciding.news.following.is_set, RECOVERY_SECONDS)
        assert await ask() == (Status.ACTIVE, Tier.POSTGRES)
        assert await ask() == (Status.ACTIVE, Tier.MEMORY)

        cable.pull_out()
        changes = await Users(pool).set_status("acme", "ann", Status.DISABLED)
        assert await publisher.publish(changes) is Level.COMMITTED
        # Nobody tells anybody: the lease ends by itself, and then the truth is asked.
        await until(lambda: not leased(), 2 * LEASE_SECONDS)
        assert await ask() == (Status.DISABLED, Tier.POSTGRES)
        await until(lambda: not deciding.news.following.is_set(), RECOVERY_SECONDS)

        cable.plug_in()
        await until(deciding.news.following.is_set, RECOVERY_SECONDS)
        await ask()
        assert await ask() == (Status.DISABLED, Tier.MEMORY)
        assert await publisher.publish(changes) is Level.PUBLISHED
    await client.aclose()
