"""The whole sidecar before the demo application, with real stores, on uvloop."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import uvloop
from aiohttp import web
from psycopg.conninfo import conninfo_to_dict

from sidecar.assembly.serving import running
from sidecar.demo.application import create_application
from sidecar.demo.tenant import prepare
from sidecar.embedded import EmbeddedStack
from sidecar.settings.schema import Postgres, Root
from sidecar.store.pool import Pool

KEY = "a token key for tests, of enough length"
ROUTES: list[dict[str, Any]] = [
    {"path": "/healthz", "access": "public"},
    {"path": "/api/orders", "methods": ["GET"], "permission": "orders:read"},
    {"path": "/api/orders", "methods": ["POST"], "permission": "orders:create"},
    {
        "path": "/api/orders/{order_id}",
        "methods": ["GET"],
        "permission": "orders:read",
        "resource": "orders/{order_id}",
    },
    {
        "path": "/api/orders/{order_id}",
        "methods": ["DELETE"],
        "permission": "orders:delete",
        "resource": "orders/{order_id}",
    },
    {"path": "/echo", "access": "authenticated"},
    {"path": "/events", "permission": "orders:read"},
    {"path": "/upload", "methods": ["POST"], "access": "authenticated"},
    {"path": "/download", "access": "authenticated"},
]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Whole:
    """A running sidecar.

    Attributes:
        url: of the traffic listener.
        admin: of the admin listener.
        tokens: session tokens by user of the demo tenant.
        session: a client.
        audit: the file of audit records.
    """

    url: str
    admin: str
    tokens: dict[str, str]
    session: aiohttp.ClientSession
    audit: Path

    async def ask(self, who: str, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and body (parsed where it is JSON); `who` is a user or a token, ``""`` nobody."""
        token = self.tokens.get(who, who)
        fields = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(
            method, self.url + path, headers=fields | more.pop("headers", {}), **more
        ) as answer:
            body = await answer.read()
            return answer.status, json.loads(
                body
            ) if body and "json" in answer.content_type else body

    async def metric(self, line: str) -> float:
        """The value of the metric whose line begins with `line`."""
        async with self.session.get(self.admin + "/metrics") as answer:
            for each in (await answer.text()).splitlines():
                if each.startswith(line + " "):
                    return float(each.rsplit(" ", 1)[1])
        return 0.0


def settings(database: str, redis_url: str | None, upstream: str, **sections: Any) -> Root:
    """Settings before `upstream`."""
    stores: dict[str, Any] = {"postgres": {"dsn": database}, "load_seconds": 1.0}
    if redis_url is not None:
        prefix = f"whole-{os.getpid()}-{conninfo_to_dict(database)['dbname']}"
        stores["redis"] = {"url": redis_url, "prefix": prefix}
    document = {
        "listen": {"address": "127.0.0.1:0", "deadlines": {"drain_seconds": 1.0}},
        "upstreams": {"app": {"url": upstream}},
        "stores": stores,
        "credentials": {"token_key": KEY},
        "routes": ROUTES,
        "audit": {"sink": "off"},
    }
    return msgspec.convert(document | sections, Root)


@asynccontextmanager
async def demo_application() -> AsyncIterator[str]:
    """The demo application in this process; gives its URL."""
    runner = web.AppRunner(create_application(0.05), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


Start = Callable[..., AbstractAsyncContextManager[Whole]]


@pytest.fixture
def start(database: str, stack: EmbeddedStack, tmp_path: Path) -> Start:
    """Starts sidecars on one database, seeded with the demo tenant."""

    @asynccontextmanager
    async def started(
        *, redis: str | None = "", dsn: str = "", **sections: Any
    ) -> AsyncIterator[Whole]:
        async with Pool(Postgres(dsn=database)) as pool:
            tokens = await prepare(pool, KEY, {})
        redis_url = stack.redis_url if redis == "" else redis
        audit = tmp_path / "audit.jsonl"
        async with (
            demo_application() as upstream,
            running(settings(dsn or database, redis_url, upstream, **sections)) as (url, admin),
            aiohttp.ClientSession() as session,
        ):
            users = {name.removesuffix("_TOKEN").lower(): token for name, token in tokens.items()}
            yield Whole(url, admin, users, session, audit)

    return started
