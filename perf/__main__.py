"""``python -m perf``: CPU per request of Sidecar and of other proxies, in one run."""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from perf import machine, report, verdict
from perf.peers.catalogue import PEERS, chosen
from perf.peers.peer import AbsentError, Peer, Site, probe
from perf.peers.sidecar import NAME as SIDECAR
from perf.rounds import CONNECTIONS, Figure, measured, upstream
from perf.workload import TOKENS, Workload, prepared


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run found.

    Attributes:
        absent: peer -> why there are no figures of it.
    """

    figures: list[Figure]
    peers: list[Peer]
    absent: dict[str, str] = field(default_factory=dict)


def compared(names: Iterable[str], rounds: int, seconds: float) -> Outcome:
    """Starts, probes and measures the peers, and stops them.

    Raises:
        RuntimeError: Sidecar did not start, let through what it must refuse, or answered wrong.
            Other peers are left out, and it is said why.
    """
    with ExitStack() as stack, workshop() as (folder, workload):
        site = Site(folder, stack.enter_context(upstream()), workload)
        peers: list[Peer] = []
        absent: dict[str, str] = {}
        for name in names:
            tell(f"starting {name}")
            try:
                peers.append(_probed(stack, name, site))
            except RuntimeError as error:
                if name == SIDECAR:
                    raise
                absent[name] = str(error)
                tell(f"  left out: {error}")
        figures, failed = measured(peers, workload, rounds, seconds, tell)
        if SIDECAR in failed:
            raise RuntimeError(failed[SIDECAR])
        return Outcome(figures, peers, absent | failed)


def _probed(stack: ExitStack, name: str, site: Site) -> Peer:
    """Starts a peer that lives as long as the stack, if it does what it claims."""
    with ExitStack() as own:
        try:
            peer = own.enter_context(PEERS[name].started(site))
            probe(peer, site.workload)
        except OSError as error:
            raise AbsentError(str(error)) from error
        stack.enter_context(own.pop_all())
        return peer


@contextmanager
def workshop() -> Iterator[tuple[Path, Workload]]:
    """A folder with keys and tokens; all that is started inside is on the load's core, but for
    the proxies (`peers.peer.running`).
    """
    with (
        machine.pinned(machine.LOAD_CORE),
        tempfile.TemporaryDirectory(prefix="perf-") as folder,
    ):
        tell(f"signing {TOKENS} tokens")
        yield Path(folder), prepared(Path(folder))


def tell(text: str) -> None:
    print(text, flush=True)


def _run(names: list[str], rounds: int, seconds: float) -> list[str]:
    """One whole run, told and written; returns what exceeds a gate."""
    outcome, limits = compared(names, rounds, seconds), verdict.limits()
    tell(f"\n{report.table(outcome.figures, outcome.peers)}\n")
    tell(f"{verdict.told(outcome.figures, limits)}\n")
    for name, why in outcome.absent.items():
        tell(f"without {name}: {why}")
    written = report.write(
        outcome.figures,
        outcome.peers,
        seconds,
        pairs=[(limit.above, limit.below) for limit in limits],
        absent=outcome.absent,
        scenarios={},
    )
    tell(f"written to {written}")
    return verdict.exceeded(outcome.figures, limits)


@click.command()
@click.option("--peers", "which", default="default", type=click.Choice(["default", "all"]))
@click.option("--only", multiple=True, type=click.Choice(list(PEERS)), help="Exactly these.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--gate", is_flag=True, help="Fail where a gate of thresholds.json is exceeded.")
def main(which: str, only: tuple[str, ...], rounds: int, seconds: float, gate: bool) -> None:  # noqa: FBT001 # click
    """Measure CPU per request over keep-alive connections, each proxy alone on one core."""
    if machine.cores() < 2:
        tell("only one core: proxy and load disturb each other; take no figure for true")
    names = chosen(which, only)
    tell(f"{CONNECTIONS} connections, {TOKENS} tokens, {rounds} rounds of {seconds:g} s each")
    try:
        faults = _run(names, rounds, seconds)
        if faults and gate:
            tell(f"exceeded, once more: {'; '.join(faults)}")
            faults = _run(names, rounds, seconds)
    except RuntimeError as error:
        sys.exit(f"perf: {error}")
    if faults and gate:
        sys.exit(f"perf: {'; '.join(faults)}")


if __name__ == "__main__":
    main()
