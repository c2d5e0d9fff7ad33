"""``python -m perf.cold``: many users nobody has seen come at the same moment.

A whole sidecar without listeners, on PostgreSQL and Valkey started for the run, with the bounds of
the settings' defaults. Prints and judges nothing: absolute times are the machine's.
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import click
import msgspec
import uvloop

from perf.sync.figures import table
from perf.warming.world import Asked, World, world
from sidecar.assembly.deciding import Deciding, open_deciding
from sidecar.authorize.permit import Permit
from sidecar.forward.exchange import Exchange
from sidecar.pipeline import Pipeline
from sidecar.settings.schema import Redis, Stores
from sidecar.telemetry.meters import Meters

SIZES = (200, 1000, 5000)
LEVELS = ("PostgreSQL alone", "Redis empty", "Redis full")
# Few enough at once that none of them fails while Redis is filled.
GENTLY = 16


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of users who came at once.

    Attributes:
        seconds: until each was permitted, ascending.
        refused: seconds until each of the others was refused, ascending.
        cpu_seconds: of this process.
        taken: seconds from the first to the last verdict.
        tiers: answers by tier.
    """

    seconds: list[float]
    refused: list[float]
    cpu_seconds: float
    taken: float
    tiers: Counter[str]


class Started:
    """A sidecar that is up and knows nobody."""

    def __init__(self, deciding: Deciding, pipeline: Pipeline) -> None:
        self.deciding = deciding
        self._pipeline = pipeline

    async def ask(self, token: str) -> tuple[float, bool]:
        """Seconds until there is a verdict, and whether it permits."""
        begun = time.perf_counter()
        asked = Asked(token)
        self._pipeline.begin(cast("Exchange", asked))
        verdict = await asked.answered
        return time.perf_counter() - begun, isinstance(verdict, Permit)

    async def burst(self, tokens: Sequence[str]) -> Burst:
        """All of `tokens` at once; times count from the moment they came."""
        before = Counter(self.deciding.tiers.counts)
        permitted: list[float] = []
        refused: list[float] = []
        cpu, begun = time.process_time(), time.perf_counter()
        asked = [Asked(token) for token in tokens]

        def note(verdict: asyncio.Future[Any]) -> None:
            taken = time.perf_counter() - begun
            (permitted if isinstance(verdict.result(), Permit) else refused).append(taken)

        for each in asked:
            each.answered.add_done_callback(note)
            self._pipeline.begin(cast("Exchange", each))
        await asyncio.gather(*(each.answered for each in asked))
        taken = time.perf_counter() - begun
        used = time.process_time() - cpu
        counts = Counter(self.deciding.tiers.counts)
        counts.subtract(before)
        return Burst(sorted(permitted), sorted(refused), used, taken, counts)

    async def know(self, tokens: Sequence[str]) -> None:
        """Have Redis filled with what concerns `tokens`, then forget it here."""
        for begin in range(0, len(tokens), GENTLY):
            await asyncio.gather(*(self.ask(token) for token in tokens[begin : begin + GENTLY]))
        await self.quiet()
        self.deciding.memory.flush()

    async def quiet(self) -> None:
        """Wait until what is still read and filled has ended."""
        # Nothing else tells.
        while self.deciding.tiers._tasks:  # noqa: SLF001, ASYNC110
            await asyncio.sleep(0.05)


@asynccontextmanager
async def started(ready: World, level: str) -> AsyncIterator[Started]:
    """A sidecar with default bounds, connected to its stores."""
    root = ready.settings({}, {}, redis=level != "PostgreSQL alone")
    redis = root.stores.redis
    stores = Stores(
        postgres=root.stores.postgres,
        redis=None if redis is None else Redis(url=redis.url, prefix=redis.prefix),
    )
    root = msgspec.structs.replace(root, stores=stores)
    async with open_deciding(root) as deciding:
        await deciding.first_news()
        pipeline = Pipeline(
            snapshot=deciding.snapshot,
            loader=deciding.tiers,
            load_seconds=stores.load_seconds,
            meters=Meters(),
            audit=None,
            audit_permits=False,
        )
        one = Started(deciding, pipeline)
        # Opens connections and teaches the stores the statements.
        await one.know(ready.tokens[:GENTLY])
        # As `assembly.serving` does.
        gc.collect()
        gc.freeze()
        yield one


async def measured(sizes: Sequence[int], rounds: int) -> None:
    """One table."""
    rows = []
    async with world(GENTLY + len(LEVELS) * rounds * sum(sizes)) as ready:
        at = GENTLY
        for level in LEVELS:
            for size in sizes:
                bursts = []
                for _ in range(rounds):
                    tokens, at = ready.tokens[at : at + size], at + size
                    async with started(ready, level) as one:
                        if level == "Redis full":
                            await one.know(tokens)
                        bursts.append(await one.burst(tokens))
                        await one.quiet()
                rows.append((level, str(size), *_figures(bursts, size)))
    head = ("stores", "users", "refused", "p50 ms", "p99 ms", "last ms", "refused p50", "CPU ms")
    print(f"\n{table((*head, 'answers'), rows)}\n", flush=True)


def _figures(bursts: Sequence[Burst], size: int) -> tuple[str, ...]:
    """Of the bursts together; CPU and the last verdict of the middle one."""
    permitted = sorted(each for burst in bursts for each in burst.seconds)
    refused = sorted(each for burst in bursts for each in burst.refused)
    middle = len(bursts) // 2
    last = sorted(burst.taken for burst in bursts)[middle]
    cpu = sorted(burst.cpu_seconds for burst in bursts)[middle]
    tiers = sum((burst.tiers for burst in bursts), Counter[str]())
    return (
        f"{len(refused) / (size * len(bursts)):.1%}",
        _milliseconds(permitted, 0.5),
        _milliseconds(permitted, 0.99),
        f"{1000 * last:.0f}",
        _milliseconds(refused, 0.5),
        f"{1000 * cpu:.0f}",
        " ".join(f"{name} {count}" for name, count in sorted(tiers.items()) if count > 0),
    )


def _milliseconds(ordered: Sequence[float], share: float) -> str:
    if not ordered:
        return "-"
    return f"{1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]:.0f}"


@click.command()
@click.option("--users", default=SIZES, show_default=True, multiple=True, type=click.IntRange(1))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
def main(users: tuple[int, ...], rounds: int) -> None:
    """Measure bursts of users that neither memory nor (but for one row) Redis knows."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measured(users, rounds))


if __name__ == "__main__":
    main()
