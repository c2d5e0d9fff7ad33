"""``python -m perf``: CPU per request of Sidecar, nginx and a plain aiohttp proxy, in one run."""

import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import click

from perf import machine, report
from perf.peers import aiohttp_proxy, nginx, sidecar
from perf.peers.peer import Peer, probe
from perf.rounds import CONNECTIONS, Figure, measured, upstream
from perf.workload import TOKENS, prepared

NAMES = (sidecar.NAME, aiohttp_proxy.NAME, nginx.NAME)


def run(names: Iterable[str], rounds: int, seconds: float) -> list[Figure]:
    """One whole run: starts, probes, measures, stops, and tells about it.

    Raises:
        RuntimeError: a proxy did not start, let through what it must refuse, or answered wrong.
    """
    with ExitStack() as stack:
        # Whatever is started from here on is on this core, but for the proxies (`peers.peer`).
        stack.enter_context(machine.pinned(machine.LOAD_CORE))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perf-")))
        _tell(f"signing {TOKENS} tokens")
        workload = prepared(folder)
        answering = stack.enter_context(upstream())
        peers: list[Peer] = []
        for name in names:
            _tell(f"starting {name}")
            peers.append(
                stack.enter_context(
                    nginx.started(folder, answering)
                    if name == nginx.NAME
                    else aiohttp_proxy.started(folder, answering, workload)
                    if name == aiohttp_proxy.NAME
                    else sidecar.started(folder, answering, workload)
                )
            )
            probe(peers[-1], workload)
        figures = measured(peers, workload, rounds, seconds, _tell)
        print(f"\n{report.table(figures, peers)}\n", flush=True)
        _tell(f"written to {report.write(figures, peers, seconds)}")
        return figures


def _tell(text: str) -> None:
    print(text, flush=True)


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Leave the others out.")
@click.option("--gate", is_flag=True, help="Fail where a ratio of thresholds.json is exceeded.")
def main(rounds: int, seconds: float, only: tuple[str, ...], gate: bool) -> None:  # noqa: FBT001 # click
    """Measure CPU per request over keep-alive connections, each proxy alone on one core."""
    if machine.cores() < 2:
        _tell("only one core: proxy and load disturb each other; take no figure for true")
    names = [name for name in NAMES if not only or name in only]
    _tell(f"{CONNECTIONS} connections, {TOKENS} tokens, {rounds} rounds of {seconds:g} s each")
    try:
        faults = report.exceeded(run(names, rounds, seconds)) if gate else []
        if not gate:
            run(names, rounds, seconds)
        if faults:
            _tell(f"exceeded, once more: {'; '.join(faults)}")
            faults = report.exceeded(run(names, rounds, seconds))
    except RuntimeError as error:
        sys.exit(f"perf: {error}")
    if faults:
        sys.exit(f"perf: {'; '.join(faults)}")


if __name__ == "__main__":
    main()
