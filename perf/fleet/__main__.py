"""``python -m perf.fleet``: lag, load and recovery of fleets from 10 to 10 000 sidecars.

Virtual time; the protocol's own machines. Delays and losses are assumed (`network.Weather`), and a
Redis that is asked too much is not: compare the calls a second with what one Redis carries.
"""

import time
from collections.abc import Sequence

import click

from perf.fleet.simulation import Fleet, Outcome, simulate
from perf.sync.figures import table

SIZES = (10, 100, 1_000, 10_000)


def at(ordered: Sequence[float], share: float) -> float:
    """A percentile."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def row(outcome: Outcome) -> list[str]:
    lags, outage, partition = outcome.lags, outcome.after_outage, outcome.after_partition
    return [
        f"{outcome.fleet.sidecars}",
        *(f"{1000 * at(lags, share):.2f}" for share in (0.5, 0.99, 1.0)),
        f"{outcome.beats:.0f}",
        f"{outcome.scripts:.0f}",
        f"{outcome.peak_beats:.0f}",
        *(f"{at(outage, share):.2f}" for share in (0.5, 0.99, 1.0)),
        *(f"{at(partition, share):.2f}" for share in (0.5, 1.0)),
        f"{outcome.replays['log']}/{outcome.replays['outbox']}",
        f"{len(outcome.wrong)}",
    ]


HEAD = (
    "sidecars", "lag p50 ms", "p99", "max", "beats/s", "calls/s", "peak beats/s",
    "Redis back p50 s", "p99", "max", "partition p50 s", "max", "replays log/outbox", "wrong",
)  # fmt: skip


@click.command()
@click.option("--sizes", default=SIZES, show_default=True, type=click.IntRange(1), multiple=True)
@click.option("--changes", default=5.0, show_default=True, help="A second, in all.")
@click.option("--seed", default=1, show_default=True)
def main(sizes: tuple[int, ...], changes: float, seed: int) -> None:
    """Simulate fleets."""
    rows, last = [], None
    for size in sizes:
        begun = time.perf_counter()
        last = simulate(Fleet(size, changes=changes, seed=seed))
        rows.append(row(last))
        print(f"{size} sidecars: {time.perf_counter() - begun:.0f} s", flush=True)
    print(f"\n{table(HEAD, rows)}\n")
    if last is not None:
        most = max(last.reconnections) or 1
        print(f"attempts to connect of {last.fleet.sidecars} sidecars after Redis is back:")
        for number, tried in enumerate(last.reconnections):
            print(f"{number * 100:5} ms {tried:6} {'#' * (60 * tried // most)}")
        print(f"resyncs: {dict(sorted(last.resyncs.items()))}")


if __name__ == "__main__":
    main()
