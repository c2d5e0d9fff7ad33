"""A start beside a sibling in use, and what operators see of it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.assembly import own
from sidecar.cache import memory as memory_module
from sidecar.sync import warming as warming_module
from sidecar.sync.warming import Warmer
from tests.integration.whole.conftest import Start


async def test_a_start_has_in_memory_what_its_sibling_uses(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asyncio.Event()
    report = Warmer.report

    async def reported(warmer: Warmer) -> None:
        await report(warmer)
        if warmer._memory.in_use(1):
            told.set()

    # Each request counts as use, not only one in ten seconds.
    monkeypatch.setattr(memory_module, "_VOUCHED_SECONDS", 0.0)
    monkeypatch.setattr(warming_module, "_REPORT_SECONDS", 0.02)
    monkeypatch.setattr(Warmer, "report", reported)
    async with start() as sibling:
        for _ in range(4):
            assert (await sibling.ask("alice", "GET", "/api/orders"))[0] == 200
        told.clear()
        async with asyncio.timeout(10):
            await told.wait()
        async with start(cache={"warm_seconds": 10.0}) as fresh:
            wanted = await fresh.metric("sidecar_facts_wanted")
            # At least one session, its user and the roles of its tenant.
            assert wanted >= 3
            assert await fresh.metric("sidecar_facts_warmed") == wanted
            assert 0 < await fresh.metric("sidecar_warming_seconds") < 10
            fresh.tokens["alice"] = sibling.tokens["alice"]
            assert (await fresh.ask("alice", "GET", "/api/orders"))[0] == 200
            for tier in ("redis", "postgres"):
                line = f'sidecar_loads_total{{kind="SessionNeed",tier="{tier}"}}'
                assert await fresh.metric(line) == 0


@pytest.mark.parametrize(
    ("warming", "told"),
    [
        ("", "starting"),
        ("3 of 9 favourites loaded", "starting, 3 of 9 favourites loaded"),
    ],
)
async def test_who_asks_meanwhile_learns_how_far_it_is(warming: str, told: str) -> None:
    server: Any = SimpleNamespace(is_draining=False, is_leaving=False, is_accepting=False)
    deciding: Any = SimpleNamespace(warming=warming)
    assert await own.unready(server, deciding) == told


async def test_predictions_are_counted(start: Start) -> None:
    """Entries live so short that memory loses the session again and again."""
    cache = {"entry_seconds": 0.05, "shortest_entry_seconds": 0.05, "longest_entry_seconds": 0.05}
    async with start(cache=cache) as whole:

        async def asked() -> float:
            assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 200
            return await whole.metric('sidecar_reads_ahead_total{event="prediction-used"}')

        async with asyncio.timeout(20):
            while not await asked():
                await asyncio.sleep(0.06)
        assert await whole.metric('sidecar_reads_ahead_total{event="prediction"}') >= 1
