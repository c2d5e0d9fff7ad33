"""Whole sidecars without listeners on real stores, with a network between that takes its time."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import psycopg

from sidecar.assembly.deciding import Deciding, open_deciding
from sidecar.authenticate.opaque import RANDOM_BYTES, digest, mint, signing_key
from sidecar.authorize.permit import Permit
from sidecar.embedded import EmbeddedStack
from sidecar.forward.exchange import Exchange
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.need import Absent, SessionNeed, StoreNeed
from sidecar.model.peer import Peer
from sidecar.model.shard import shard_of
from sidecar.pipeline import Pipeline
from sidecar.settings.schema import Root
from sidecar.store.migrate import migrate
from sidecar.sync.keyspace import StoreFact
from sidecar.sync.levels import Levels, Primary
from sidecar.sync.redis_cache import Look
from sidecar.sync.tiers import Tiers
from sidecar.telemetry.meters import Meters

KEY = "a token key for benchmarks, of enough length"
TENANTS = [f"tenant-{number}" for number in range(20)]
SEED = """
INSERT INTO auth_tenant (slug) SELECT 'tenant-' || n FROM generate_series(0, 19) AS n;
INSERT INTO auth_role (tenant, name) SELECT slug, 'reader' FROM auth_tenant;
INSERT INTO auth_role_rule (tenant, role, effect, action, resource)
  SELECT slug, 'reader', 'allow', 'things:read', '*' FROM auth_tenant;
"""
USERS = """
INSERT INTO auth_user (tenant, subject)
  SELECT 'tenant-' || mod(n, 20), 'user-' || n FROM generate_series(0, %s - 1) AS n;
"""
GRANTS = """
INSERT INTO auth_role_grant (tenant, subject, role) SELECT tenant, subject, 'reader' FROM auth_user;
"""


class Asked:
    """A request as far as the pipeline concerns it: its head, and where the verdict goes."""

    is_over = False
    request_id = b"perf"
    peer = Peer("127.0.0.1", "http", is_trusted=False)

    def __init__(self, token: str) -> None:
        head = RequestHead()
        head.method, head.host, head.path = "GET", "app.example", "/things"
        head.set_fields(
            ((b"host", b"app.example"), (b"authorization", b"Bearer " + token.encode()))
        )
        head.upgrade = None
        self.head = head
        self.answered: asyncio.Future[Permit | Denial] = asyncio.Future()

    def forward(self, permit: Permit) -> None:
        self.answered.set_result(permit)

    def refuse(self, denial: Denial) -> None:
        self.answered.set_result(denial)


class Network:
    """Round trips to the stores take `seconds` more. Stands before PostgreSQL and before Redis."""

    def __init__(self, tiers: Tiers) -> None:
        self.seconds = 0.0
        # Between what the assembly has put together.
        levels: Levels = tiers._levels  # noqa: SLF001
        self._primary: Primary = levels.primary
        levels.primary = self
        redis: Any = levels.redis
        if redis is not None:
            self._look: Callable[[StoreNeed], Awaitable[Look]] = redis.look
            redis.look = self.look
            self._look_many: Callable[[Sequence[StoreNeed]], Awaitable[list[Look]]]
            self._look_many, redis.look_many = redis.look_many, self.look_many

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return await self._primary.read(need)

    async def read_many(
        self, needs: Sequence[StoreNeed]
    ) -> Sequence[StoreFact | Absent | Exception]:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return await self._primary.read_many(needs)

    async def look_many(self, needs: Sequence[StoreNeed]) -> list[Look]:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return await self._look_many(needs)

    async def look(self, need: StoreNeed) -> Look:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return await self._look(need)


@dataclass
class Sidecar:
    """A running one."""

    deciding: Deciding
    pipeline: Pipeline
    network: Network

    async def ask(self, token: str) -> float:
        """Seconds until a request with this session is permitted."""
        asked = Asked(token)
        begun = time.perf_counter()
        self.pipeline.begin(cast("Exchange", asked))
        verdict = await asked.answered
        taken = time.perf_counter() - begun
        assert isinstance(verdict, Permit), verdict
        return taken


class World:
    """Stores with users who have a session each."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._stack = stack
        self.tokens: list[str] = []

    def settings(self, features: dict[str, bool], cache: dict[str, Any], *, redis: bool) -> Root:
        stores: dict[str, Any] = {
            "postgres": {"dsn": self._stack.database_url},
            "load_seconds": 1.0,
        }
        if redis:
            # A report of all users at once takes longer than a command may.
            stores["redis"] = {
                "url": self._stack.redis_url,
                "prefix": "perf",
                "command_seconds": 5.0,
            }
        document = {
            "upstreams": {"app": {"url": "http://127.0.0.1:1"}},
            "stores": stores,
            "credentials": {"token_key": KEY},
            "routes": [{"path": "/things", "permission": "things:read"}],
            "features": features,
            "cache": cache,
        }
        return msgspec.convert(document, Root)

    @asynccontextmanager
    async def sidecar(
        self, features: dict[str, bool] | None = None, *, redis: bool = True, **cache: Any
    ) -> AsyncIterator[Sidecar]:
        root = self.settings(features or {}, cache, redis=redis)
        async with open_deciding(root) as deciding:
            await deciding.first_news()
            assert deciding.news.following.is_set()
            pipeline = Pipeline(
                snapshot=deciding.snapshot,
                loader=deciding.tiers,
                load_seconds=1.0,
                meters=Meters(),
                audit=None,
                audit_permits=False,
            )
            yield Sidecar(deciding, pipeline, Network(deciding.tiers))

    async def populate(self, users: int) -> None:
        """That many users, each with a session; all have the role ``reader``."""
        key = signing_key(KEY)
        async with await psycopg.AsyncConnection.connect(self._stack.database_url) as connection:
            await connection.execute(SEED)
            await connection.execute(USERS, (users,))
            await connection.execute(GRANTS)
            async with connection.cursor().copy(
                "COPY auth_session (digest, id, tenant, subject, expires_at) FROM STDIN"
            ) as copy:
                for number in range(users):
                    tenant = TENANTS[number % len(TENANTS)]
                    token = mint(shard_of(tenant), secrets.token_bytes(RANDOM_BYTES), key)
                    self.tokens.append(token)
                    row = (digest(token), f"s{number}", tenant, f"user-{number}", "2100-01-01")
                    await copy.write_row(row)

    def need(self, number: int) -> SessionNeed:
        """The session of that user."""
        return SessionNeed(digest(self.tokens[number]), shard_of(TENANTS[number % len(TENANTS)]))


@asynccontextmanager
async def world(users: int) -> AsyncIterator[World]:
    """PostgreSQL and Valkey of our own in a folder that goes with them."""
    with tempfile.TemporaryDirectory(prefix="perf-warming-", ignore_cleanup_errors=True) as name:
        # As root, PostgreSQL runs as somebody else, who has to enter.
        Path(name).chmod(0o711)  # noqa: ASYNC240  # before anything is measured
        async with EmbeddedStack(Path(name)) as stack:
            await migrate(stack.database_url)
            made = World(stack)
            await made.populate(users)
            yield made
