"""``python -m perf.fleet.beats``: how many heartbeats one Redis carries.

The product's own call, for all shards, by many members. What counts is the server's CPU time for
each: a server has one thread for them.
"""

import asyncio
import itertools
import tempfile
import time
from pathlib import Path

from perf.machine import cpu_seconds
from sidecar.embedded.valkey import EmbeddedValkey
from sidecar.model.change import ShardState
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache, Redis
from sidecar.sync.redis_cache import RedisCache, open_client

SECONDS = 5.0
MEMBERS = (1_000, 10_000)
_AT_ONCE = 6


async def measured(server: EmbeddedValkey, most: int) -> tuple[int, float]:
    """Heartbeats of `most` members, and the CPU time they took there."""
    settings = Redis(url=server.url)
    client = open_client(settings)
    cache = RedisCache(client, settings.prefix, 60, 5.0)
    for shard in range(SHARDS):
        await cache.establish(ShardState(shard, 5, 1))
    watermarks: dict[int, int | None] = dict.fromkeys(range(SHARDS), 5)
    members = (f"{each:032x}" for each in itertools.cycle(range(most)))
    count, before, ends = 0, cpu_seconds(server.server.pid), time.perf_counter() + SECONDS

    async def beat() -> None:
        nonlocal count
        while time.perf_counter() < ends:
            await cache.beat(next(members), watermarks)
            count += 1

    await asyncio.gather(*(beat() for _ in range(_AT_ONCE)))
    await client.aclose()
    return count, cpu_seconds(server.server.pid) - before


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="perf-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = EmbeddedValkey(folder, durable=False)
        server.prepare()
        server.start()
        try:
            while not server.is_ready():
                time.sleep(0.02)
            for most in MEMBERS:
                _tell(most, *asyncio.run(measured(server, most)))
        finally:
            server.server.stop()


def _tell(members: int, beats: int, seconds: float) -> None:
    print(
        f"{members} members: {1e6 * seconds / beats:.0f} us of the server for each heartbeat,"
        f" {beats / seconds * Cache().heartbeat_seconds:.0f} sidecars in a second of its CPU"
    )


if __name__ == "__main__":
    main()
