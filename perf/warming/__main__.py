"""``python -m perf.warming``: what loading ahead saves, and what it costs.

Prints and judges nothing: absolute times are the machine's, the ratios are what counts. PostgreSQL
and Valkey are started for the run and run beside us.
"""

import asyncio

import click
import uvloop

from perf.sync.figures import table
from perf.sync.hits import Mix
from perf.warming.change import first_requests
from perf.warming.cold import cold_requests
from perf.warming.sequence import job, misses, right
from perf.warming.start import hit_ratio, prime, starts
from perf.warming.world import World, world

ON_OFF = {True: "on", False: "off"}


async def measured(rounds: int, changes: int, users: int) -> None:
    """Everything that needs stores."""
    async with world(users) as ready:
        await _cold(ready, rounds)
        await _changes(ready, changes)
        await _starts(ready, users)


async def _cold(ready: World, rounds: int) -> None:
    head = ("cold request from", "prediction", "p50 ms", "p99 ms", "rounds to stores")
    rows = [
        (
            each.stores,
            ON_OFF[each.feature],
            f"{each.p50:.2f}",
            f"{each.p99:.2f}",
            f"{each.rounds:.1f}",
        )
        for each in await cold_requests(ready, rounds)
    ]
    print(f"\n{table(head, rows)}\n", flush=True)


async def _changes(ready: World, changes: int) -> None:
    head = ("first request after a change of", "seconds later", "revalidation", "waits for a store")
    rows = [
        (each.kind, f"{each.thinking:g}", ON_OFF[each.feature], f"{each.waited:.0%}")
        for each in await first_requests(ready, changes)
    ]
    print(f"{table(head, rows)}\n", flush=True)


async def _starts(ready: World, users: int) -> None:
    await prime(ready, users)
    head = (f"start with {users} users", "facts", "seconds", "to ready")
    rows = [
        (each.how, str(each.facts), f"{each.seconds:.2f}", f"{each.ready_seconds:.2f}")
        for each in await starts(ready, users, 3)
    ]
    print(f"{table(head, rows)}\n", flush=True)
    answered = [
        (f"warming {ON_OFF[on]}", f"{await hit_ratio(ready, users, warming=on):.1%}")
        for on in (False, True)
    ]
    print(
        f"{table(('first 2000 requests after a start', 'answered from memory'), answered)}\n",
        flush=True,
    )


def sequences() -> None:
    """What was tried, and dropped."""
    mix = Mix(requests=300_000)
    rows = []
    for name, needs in (
        ("realistic mix, memory for 10 %", misses(mix, 0.1)),
        ("a job through 20 sessions, alone", job()),
    ):
        share, wrong = right(needs)
        rows.append((name, f"{share:.1%}", f"{wrong:.1f}"))
    head = ("the next session foretold by the last", "right", "wrong for each right")
    print(f"{table(head, rows)}\n", flush=True)


@click.command()
@click.option("--rounds", default=1000, show_default=True, type=click.IntRange(300))
@click.option("--changes", default=60, show_default=True, type=click.IntRange(1))
@click.option("--users", default=10_000, show_default=True, type=click.IntRange(200))
def main(rounds: int, changes: int, users: int) -> None:
    """Measure loading ahead on real stores."""
    sequences()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measured(rounds, changes, users))


if __name__ == "__main__":
    main()
