"""``python -m perf.sync``: look-ups by tier, invalidation lag, acknowledgement, hit ratios.

Prints and judges nothing: absolute times are the machine's. PostgreSQL and Valkey are started for
the run and run beside us, as do the sidecars, all in this one process.
"""

import asyncio

import click
import uvloop

from perf.sync.core import bench
from perf.sync.figures import Times, times_table, write
from perf.sync.hits import Mix, compared, ratios_table
from perf.sync.latency import acknowledgements, invalidations, lookups


async def measured(rounds: int, revocations: int, sidecars: int) -> list[Times]:
    """Everything that needs stores."""
    async with bench() as ready:
        return [
            *await lookups(ready, rounds),
            await invalidations(ready, revocations),
            await acknowledgements(ready, revocations, sidecars),
        ]


@click.command()
@click.option("--rounds", default=2000, show_default=True, type=click.IntRange(1))
@click.option("--revocations", default=300, show_default=True, type=click.IntRange(1))
@click.option("--sidecars", default=3, show_default=True, type=click.IntRange(1))
@click.option("--requests", default=1_000_000, show_default=True, type=click.IntRange(1000))
def main(rounds: int, revocations: int, sidecars: int, requests: int) -> None:
    """Measure memory and its news on real stores."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measured(rounds, revocations, sidecars))
    print(f"\n{times_table(figures)}\n", flush=True)
    mix = Mix(requests=requests)
    ratios = compared(mix)
    print(
        f"hit ratio of {mix.sessions} sessions (Zipf {mix.skew:g}; each {mix.churn} requests one "
        f"is replaced; {mix.one_hit:.0%} of requests bring a token that is seen once)\n"
    )
    print(f"{ratios_table(ratios, mix)}\n")
    print(f"written to {write(figures, ratios)}")


if __name__ == "__main__":
    main()
