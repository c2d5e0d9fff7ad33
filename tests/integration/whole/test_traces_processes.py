"""Traces of sidecars in processes of their own: several workers, and the end."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import msgspec
import pytest
import yaml

from sidecar.demo.tenant import prepare
from sidecar.embedded import EmbeddedStack
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from tests.collector import collector
from tests.integration.whole.conftest import KEY, settings
from tests.integration.whole.processes import running


@pytest.fixture
async def config(database: str, stack: EmbeddedStack, tmp_path: Path) -> Path:
    """A configuration that traces everything; its endpoint is yet to be told."""
    async with Pool(Postgres(dsn=database)) as pool:
        await prepare(pool, KEY, {})
    root = settings(database, stack.redis_url, "http://127.0.0.1:1")
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(msgspec.to_builtins(root)))
    return path


def trace_to(config: Path, url: str, workers: int = 1, **more: object) -> None:
    document = yaml.safe_load(config.read_text())
    document["tracing"] |= {"endpoint": url, "ratio": 1.0, **more}
    document["listen"]["workers"] = workers
    config.write_text(yaml.safe_dump(document))


async def ask(port: int, times: int) -> None:
    """Refused requests, each over a connection of its own."""
    for _ in range(times):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/api/orders") as answer,
        ):
            assert answer.status == 401


async def test_what_waits_is_sent_at_the_end(config: Path) -> None:
    async with collector() as told:
        trace_to(config, told.url, flush_seconds=60.0)
        async with running(config) as process:
            await ask(process.port, 3)
            process.send(signal.SIGTERM)
            assert await process.end() == 0
        assert [span.name for span in told.spans] == ["GET /api/orders"] * 3


async def test_a_collector_that_hangs_does_not_keep_the_process(config: Path) -> None:
    """The watchdog would end it with another code, four seconds after it should be gone."""
    async with collector() as told:
        told.released.clear()
        trace_to(config, told.url, timeout_seconds=3600.0, flush_seconds=0.01)
        async with running(config) as process:
            await ask(process.port, 1)
            async with asyncio.timeout(20):
                while not told.asked:
                    await asyncio.sleep(0.01)
            await ask(process.port, 1)
            process.send(signal.SIGTERM)
            assert await process.end() == 0
        assert "Traceback" not in process.log


async def test_a_collector_that_is_not_there_is_told_of_once(config: Path) -> None:
    trace_to(config, "http://127.0.0.1:1/v1/traces", timeout_seconds=0.05, flush_seconds=0.01)
    async with running(config) as process, aiohttp.ClientSession() as session:
        lost = 0.0
        async with asyncio.timeout(30):
            while lost < 3:
                await ask(process.port, 1)
                async with session.get(process.admin + "/metrics") as answer:
                    for line in (await answer.text()).splitlines():
                        if line.startswith('sidecar_spans_total{outcome="failed"}'):
                            lost = float(line.rsplit(" ", 1)[1])
        process.send(signal.SIGTERM)
        assert await process.end() == 0
    assert process.log.count("the collector lost") == 1
    assert "ConnectionError" in process.log
    assert "127.0.0.1:1/" not in process.log


async def test_each_worker_has_an_exporter(config: Path) -> None:
    async with collector() as told:
        trace_to(config, told.url, workers=2, flush_seconds=0.05)
        async with running(config) as process:
            async with asyncio.timeout(30):
                while len({span.resource["service.instance.id"] for span in told.spans}) < 2:
                    await ask(process.port, 2)
            process.send(signal.SIGTERM)
            assert await process.end() == 0
