"""How long look-ups take in each tier, and how soon a revocation is in effect elsewhere."""

import asyncio
import time
from contextlib import AsyncExitStack

from perf.sync.core import CACHE, SHARD, Bench, Core
from perf.sync.figures import Times, times
from sidecar.cache.acknowledgement import Bounds
from sidecar.clock import instant
from sidecar.model.change import Level
from sidecar.model.need import SessionNeed
from sidecar.settings.schema import Features
from sidecar.sync.acknowledge import Acknowledger
from sidecar.sync.tiers import Tier

MEMORY_ROUNDS = 50_000


async def lookups(bench: Bench, rounds: int) -> list[Times]:
    """One session, found in memory, in Redis, in PostgreSQL."""
    _, need = await bench.issue()
    async with bench.core().running() as core:
        await core.tiers.load(need, instant())
        while (await bench.l2.look(need)).fact is None:  # noqa: ASYNC110  # another process has it
            await asyncio.sleep(0.001)
        clock = time.perf_counter
        empty = sorted(-(clock() - clock()) for _ in range(MEMORY_ROUNDS))[MEMORY_ROUNDS // 2]
        memory = []
        now = instant()
        for _ in range(MEMORY_ROUNDS):
            begun = clock()
            found = core.memory.find(need, now)
            memory.append(max(0.0, clock() - begun - empty))
            assert found is not None
        redis = [await _missed(core, need, Tier.REDIS) for _ in range(rounds)]
    async with bench.core(Features(redis_cache=False)).running() as core:
        postgres = [await _missed(core, need, Tier.POSTGRES) for _ in range(rounds)]
    return [
        times("look-up in memory", "us", memory),
        times("look-up in Redis", "ms", redis),
        times("look-up in PostgreSQL", "ms", postgres),
    ]


async def _missed(core: Core, need: SessionNeed, tier: Tier) -> float:
    """Seconds of one look-up that memory cannot answer."""
    core.memory.drop(need)
    begun = time.perf_counter()
    loaded = await core.tiers.load(need, instant())
    taken = time.perf_counter() - begun
    assert loaded.tier is tier, loaded
    return taken


async def invalidations(bench: Bench, rounds: int) -> Times:
    """From the call that publishes to the moment another sidecar has forgotten the session."""
    lags = []
    async with bench.core().running() as core:
        for _ in range(rounds):
            identifier, need = await bench.issue()
            await core.tiers.load(need, instant())
            assert core.memory.find(need, instant()) is not None
            changes = await bench.revoke(identifier)
            applied = core.next_applied()
            begun = time.perf_counter()
            await bench.publish(changes)
            async with asyncio.timeout(5):
                lags.append(await applied - begun)
            assert core.memory.find(need, instant()) is None
    return times("published -> applied elsewhere", "ms", lags)


async def acknowledgements(bench: Bench, rounds: int, sidecars: int) -> Times:
    """The whole of a revocation that waits until it is applied by all: commit, publish, wait."""
    bounds = Bounds(CACHE.lease_seconds, bench.settings.isolation_seconds)
    acknowledger = Acknowledger(bench.l2, bench.outbox, bounds)
    taken = []
    async with AsyncExitStack() as stack:
        for _ in range(sidecars):
            await stack.enter_async_context(bench.core().running())
        await _until_old_enough(bench, bounds)
        for _ in range(rounds):
            identifier, _need = await bench.issue()
            begun = time.perf_counter()
            changes = await bench.revoke(identifier)
            await bench.publish(changes)
            found = await acknowledger.wait(changes, 10.0)
            taken.append(time.perf_counter() - begun)
            assert found.level is Level.APPLIED, found
    return times(f"revoked -> applied by {sidecars} sidecars", "ms", taken)


async def _until_old_enough(bench: Bench, bounds: Bounds) -> None:
    """Nothing is `applied` while the epoch is younger than a lease and an isolation (R2)."""
    epoch = (await bench.outbox.state(SHARD)).epoch
    longest = 1.1 * bounds.lease + bounds.isolation
    while await bench.outbox.epoch_age(SHARD, epoch) < longest:  # noqa: ASYNC110  # its clock
        await asyncio.sleep(0.1)
    # Sidecars of earlier measurements have ended, but their last heartbeats are remembered.
    await asyncio.sleep(1.1 * bounds.lease)
