"""``python -m perf``: Sidecar and other proxies in one run, by CPU per request; and scenarios."""

import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from perf import machine, report, verdict
from perf.peers.catalogue import PEERS, chosen
from perf.peers.peer import AbsentError, Peer, Site, probe
from perf.peers.sidecar import NAME as SIDECAR
from perf.plots import drawing
from perf.plots import peers as peers_plot
from perf.rounds import CONNECTIONS, Figure, measured, upstream
from perf.scenarios import latency, pool, users
from perf.scenarios.found import Found
from perf.workload import TOKENS, Workload, prepared

SCENARIOS = ("latency", "pool", "users")
Scenario = Callable[[Site, Callable[[str], None]], Found]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run found.

    Attributes:
        absent: peer -> why there are no figures of it.
    """

    figures: list[Figure]
    peers: list[Peer]
    absent: dict[str, str] = field(default_factory=dict)


def tell(text: str) -> None:
    print(text, flush=True)


def compared(
    names: Iterable[str],
    workload: Workload,
    folder: Path,
    rounds: int,
    seconds: float,
    *,
    tell: Callable[[str], None] = tell,
) -> Outcome:
    """Starts, probes and measures the peers, and stops them.

    Raises:
        RuntimeError: Sidecar did not start, let through what it must refuse, or answered wrong.
            Other peers are left out, and it is said why.
    """
    with ExitStack() as stack:
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
            raise AbsentError(f"{name}: {error}") from error
        stack.enter_context(own.pop_all())
        return peer


@contextmanager
def workshop(*, tell: Callable[[str], None] = tell) -> Iterator[tuple[Path, Workload]]:
    """A folder with keys and tokens; all that is started inside is on the load's core, but for
    the proxies (`peers.peer.running`).
    """
    # Whoever ends us ends what we started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (
        machine.pinned(machine.LOAD_CORE),
        tempfile.TemporaryDirectory(prefix="perf-") as name,
    ):
        folder = Path(name)
        # Servers that are started by root go on as somebody else, who must reach their files.
        folder.chmod(0o711)
        tell(f"signing {TOKENS} tokens")
        yield folder, prepared(folder)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run measures."""

    names: list[str]
    scenarios: dict[str, Scenario]
    rounds: int
    seconds: float


def _run(plan: Plan) -> list[str]:
    """One whole run, told and written; returns what exceeds a gate, and scenarios that failed."""
    found: dict[str, Found] = {}
    failed: dict[str, str] = {}
    with workshop() as (folder, workload):
        outcome = Outcome([], [])
        if plan.names:
            outcome = compared(plan.names, workload, folder, plan.rounds, plan.seconds)
        for name, scenario in plan.scenarios.items():
            place = folder / f"scenario-{name}"
            place.mkdir(mode=0o711)
            try:
                found[name] = scenario(Site(place, 0, workload), tell)
            except RuntimeError as error:
                failed[name] = f"scenario {name} failed: {error}"
    measures = {name: value for each in found.values() for name, value in each.measures.items()}
    verdicts = verdict.judged(outcome.figures, measures)
    if outcome.peers:
        tell(f"\n{report.table(outcome.figures, outcome.peers)}")
    tell(f"\n{verdict.table(verdicts)}\n")
    for name, why in (outcome.absent | failed).items():
        tell(f"without {name}: {why}")
    written = report.write(
        outcome.figures,
        outcome.peers,
        plan.seconds,
        pairs=[limit.pair for limit in verdict.limits("cpu_per_request")],
        absent=outcome.absent | failed,
        scenarios={name: {**each.measures, **each.details} for name, each in found.items()},
    )
    tell(f"written to {written}")
    shown = peers_plot.bars(outcome.figures, outcome.peers)
    if shown:
        drawing.told(partial(peers_plot.draw, shown, written.parent), tell)
    return verdict.exceeded(verdicts) + list(failed.values())


@click.command()
@click.option("--peers", "which", default="default", type=click.Choice(["default", "all", "none"]))
@click.option("--only", multiple=True, type=click.Choice(list(PEERS)), help="Exactly these.")
@click.option("--also", multiple=True, type=click.Choice(SCENARIOS), help="`all` has them all.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--users-seconds", default=30.0, show_default=True, type=click.FloatRange(1))
@click.option("--gate", is_flag=True, help="Fail where a gate of thresholds.json is exceeded.")
def main(
    which: str,
    only: tuple[str, ...],
    also: tuple[str, ...],
    rounds: int,
    seconds: float,
    users_seconds: float,
    gate: bool,  # noqa: FBT001 # click
) -> None:
    """Measure CPU per request over keep-alive connections, each proxy alone on one core."""
    if machine.cores() < 2:
        tell("only one core: proxy and load disturb each other; take no figure for true")
    known: dict[str, Scenario] = {
        "latency": latency.run,
        "pool": pool.run,
        "users": partial(users.run, seconds=users_seconds),
    }
    wanted = SCENARIOS if which == "all" else also
    plan = Plan(chosen(which, only), {name: known[name] for name in wanted}, rounds, seconds)
    tell(f"{CONNECTIONS} connections, {TOKENS} tokens, {rounds} rounds of {seconds:g} s each")
    try:
        faults = _run(plan)
        if faults and gate:
            tell(f"exceeded, once more: {'; '.join(faults)}")
            faults = _run(plan)
    except RuntimeError as error:
        sys.exit(f"perf: {error}")
    if faults and gate:
        sys.exit(f"perf: {'; '.join(faults)}")


if __name__ == "__main__":
    main()
