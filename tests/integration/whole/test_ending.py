"""A process that was told to end does so, whatever its stores and its log do."""

import asyncio
import secrets
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sidecar.authenticate.opaque import mint, signing_key
from sidecar.demo.tenant import prepare
from sidecar.embedded import EmbeddedStack
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from tests.integration.whole.conftest import KEY, settings
from tests.integration.whole.processes import Process, running
from tests.servers import Proxy

DRAIN_SECONDS = 1.0
# Kubernetes would wait 30 seconds; with this drain all that is left is closing.
GRACE_SECONDS = 5.0
CLIENTS = 8


def _port(stack: EmbeddedStack) -> int:
    return urlsplit(stack.redis_url).port or 0


@pytest.fixture
def redis_proxy(stack: EmbeddedStack) -> Iterator[Proxy]:
    with Proxy(_port(stack)) as proxy:
        yield proxy


@pytest.fixture
def postgres_proxy(database: str) -> Iterator[Proxy]:
    with Proxy(int(conninfo_to_dict(database)["port"] or 0)) as proxy:
        yield proxy


@pytest.fixture
async def config(
    database: str,
    stack: EmbeddedStack,
    redis_proxy: Proxy,
    postgres_proxy: Proxy,
    tmp_path: Path,
) -> Path:
    """A configuration file with both stores behind relays, and audit records on stdout."""
    async with Pool(Postgres(dsn=database)) as pool:
        await prepare(pool, KEY, {})
    redis_url = stack.redis_url.replace(f":{_port(stack)}", f":{redis_proxy.port}")
    root = settings(
        make_conninfo(database, host="127.0.0.1", port=str(postgres_proxy.port)),
        redis_url,
        "http://127.0.0.1:1",
        listen={"address": "127.0.0.1:0", "deadlines": {"drain_seconds": DRAIN_SECONDS}},
        audit={"sink": "stdout", "flush_seconds": 0.01},
    )
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(msgspec.to_builtins(root)))
    return path


class Crowd:
    """Clients with tokens that no memory knows: each request is a read from the stores."""

    def __init__(self, process: Process) -> None:
        self._url = f"http://127.0.0.1:{process.port}/echo"
        self._key = signing_key(KEY)
        self.answered: Counter[int] = Counter()

    async def ask_on(self, session: aiohttp.ClientSession) -> None:
        """Ask until nobody is there any more."""
        while True:
            token = mint(secrets.randbelow(16), secrets.token_bytes(32), self._key)
            try:
                async with session.get(
                    self._url, headers={"Authorization": f"Bearer {token}"}
                ) as answer:
                    self.answered[answer.status] += 1
            except aiohttp.ClientError:
                return

    async def until_answered(self, count: int) -> None:
        while self.answered.total() < count:
            await asyncio.sleep(0.01)


async def _end_with(process: Process, frozen: list[Proxy]) -> int:
    """The exit code of a sidecar that is told to end while these servers are black holes."""
    crowd = Crowd(process)
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        clients = [asyncio.create_task(crowd.ask_on(session)) for _ in range(CLIENTS)]
        await crowd.until_answered(5 * CLIENTS)
        for proxy in frozen:
            proxy.freeze()
        process.send(signal.SIGTERM)
        async with asyncio.timeout(DRAIN_SECONDS + GRACE_SECONDS):
            code = await process.end()
        await asyncio.gather(*clients)
    return code


async def test_it_ends_in_order_while_redis_is_a_black_hole(
    config: Path, redis_proxy: Proxy
) -> None:
    async with running(config) as process:
        assert await _end_with(process, [redis_proxy]) == 0, process.log
    assert "Traceback" not in process.log


async def test_it_ends_in_order_while_both_stores_are_black_holes(
    config: Path, redis_proxy: Proxy, postgres_proxy: Proxy
) -> None:
    async with running(config) as process:
        assert await _end_with(process, [redis_proxy, postgres_proxy]) == 0, process.log
    assert "Traceback" not in process.log


async def test_what_would_never_end_is_told_and_left(config: Path) -> None:
    """Audit records go into a pipe that nobody reads: the thread that writes never comes back."""
    reader, writer = socket.socketpair()
    with reader, writer:
        process = await Process.start(config, writer.fileno())
        try:
            crowd = Crowd(process)
            async with aiohttp.ClientSession() as session, asyncio.timeout(60):
                clients = [asyncio.create_task(crowd.ask_on(session)) for _ in range(CLIENTS)]
                await crowd.until_answered(3000)
                process.send(signal.SIGTERM)
                assert await process.end() == 70
                await asyncio.gather(*clients)
        finally:
            await process.stop()
    assert "still here 5 s after the end began; open are: " in process.log
    assert "; thread " in process.log
    assert "; the loop's thread is in " in process.log
