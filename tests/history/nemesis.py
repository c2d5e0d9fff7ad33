"""Does harm at random, by a seed: to one sidecar's connections and ears, or to Redis itself."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import redis.asyncio
from redis.exceptions import RedisError

from sidecar.embedded.valkey import EmbeddedValkey
from tests.history.core import CACHE, LOAD_SECONDS, Core

Harm = Callable[["Nemesis", Core], Awaitable[None]]
_SHORTEST_SECONDS: Final = 0.02
# Some outages outlast two leases.
_LONGEST_SECONDS: Final = 2.5 * CACHE.lease_seconds


class Nemesis:
    """Runs until it is cancelled.

    Args:
        chance: decides what, whom and how long.
        cores: the victims.
        server: may be restarted.
        client: a connection to the server of its own, past all relays.
        tell: called with what is done.
    """

    def __init__(
        self,
        chance: random.Random,
        cores: Sequence[Core],
        server: EmbeddedValkey,
        client: redis.asyncio.Redis,
        tell: Callable[[str], None],
    ) -> None:
        self.chance = chance
        self.server = server
        self.client = client
        self._cores = cores
        self._tell = tell
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Harm, a while, mend, a while; for ever."""
        while True:
            [harm] = self.chance.choices(list(HARMS), list(HARMS.values()))
            victim = self.chance.randrange(len(self._cores))
            name = harm.__name__.replace("_", " ")
            self.done[name] += 1
            self._tell(f"{name}, sidecar {victim}")
            # Redis may be away just now; that is harm enough.
            with suppress(RedisError, OSError):
                await harm(self, self._cores[victim])
            longest = self.chance.choice((CACHE.lease_seconds / 3, _LONGEST_SECONDS))
            await asyncio.sleep(self.chance.uniform(_SHORTEST_SECONDS, longest))
            self._cores[victim].mend()
            self._tell(f"mended, sidecar {victim}")
            await asyncio.sleep(self.chance.uniform(0.0, CACHE.lease_seconds / 2))


async def lose_messages(_: Nemesis, core: Core) -> None:
    core.ear.deaf = True


async def hold_messages_up(_: Nemesis, core: Core) -> None:
    core.ear.hold()


async def cut_news(_: Nemesis, core: Core) -> None:
    core.news.cut()


async def freeze_news(_: Nemesis, core: Core) -> None:
    core.news.freeze()


async def cut_commands(_: Nemesis, core: Core) -> None:
    core.commands.cut()


async def freeze_commands(_: Nemesis, core: Core) -> None:
    core.commands.freeze()


async def isolate_from_redis(_: Nemesis, core: Core) -> None:
    core.commands.freeze()
    core.news.freeze()


async def cut_postgres(_: Nemesis, core: Core) -> None:
    core.postgres.cut()


async def freeze_postgres(_: Nemesis, core: Core) -> None:
    core.postgres.freeze()


async def slow_postgres(nemesis: Nemesis, core: Core) -> None:
    """Within the bound of a load, so that the answers count."""
    core.facts.delay = lambda: nemesis.chance.uniform(0.0, 0.8 * LOAD_SECONDS)


async def slow_postgres_unheard(nemesis: Nemesis, core: Core) -> None:
    """Until the next heartbeat finds it out."""
    core.ear.deaf = True
    core.facts.delay = lambda: nemesis.chance.uniform(0.0, 2 * CACHE.heartbeat_seconds)


async def kill_subscriptions(nemesis: Nemesis, _: Core) -> None:
    await nemesis.client.client_kill_filter(_type="pubsub")


async def forget_logs(nemesis: Nemesis, core: Core) -> None:
    """As a log that was full would be, for one that missed something."""
    core.ear.deaf = True
    keys = await nemesis.client.keys("*:log")
    if keys:
        await nemesis.client.delete(*keys)


async def flush(nemesis: Nemesis, _: Core) -> None:
    await nemesis.client.flushall()


async def isolate_and_flush(nemesis: Nemesis, core: Core) -> None:
    """One sidecar keeps the lease of a life of Redis that has ended."""
    await isolate_from_redis(nemesis, core)
    await nemesis.client.flushall()


async def flush_twice(nemesis: Nemesis, core: Core) -> None:
    """Whoever begins the first life of Redis may be late for the second."""
    await isolate_and_flush(nemesis, core)
    await asyncio.sleep(nemesis.chance.uniform(0.0, 3 * CACHE.lease_seconds))
    await nemesis.client.flushall()


async def restart(nemesis: Nemesis, _: Core) -> None:
    # Not in a thread: the server ends with the thread that started it.
    nemesis.server.server.kill()
    nemesis.server.restart()


# How often, in proportion.
HARMS: Final[dict[Harm, int]] = {
    lose_messages: 4,
    hold_messages_up: 3,
    cut_news: 2,
    freeze_news: 3,
    cut_commands: 2,
    freeze_commands: 3,
    isolate_from_redis: 4,
    cut_postgres: 2,
    freeze_postgres: 2,
    slow_postgres: 8,
    slow_postgres_unheard: 14,
    kill_subscriptions: 2,
    forget_logs: 2,
    flush: 1,
    isolate_and_flush: 4,
    flush_twice: 1,
    restart: 1,
}
