"""Latency that a proxy adds at fixed rates, against asking the upstream directly."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from statistics import median

from perf.load.generator import COME_AGAIN
from perf.load.paced import NO_ANSWER
from perf.peers import nginx, sidecar
from perf.peers.peer import Site
from perf.report import columns
from perf.rounds import CONNECTIONS, told, upstream
from perf.scenarios.found import Found

RATES = (100, 1_000, 5_000)
# That one has a goal.
JUDGED_RATE = 1_000
ROUNDS, SECONDS = 5, 4.0
_DIRECT = "direct"
_PERCENTILES = ("p50_ms", "p99_ms")

# Way -> what the generator told.
Round = Mapping[str, Mapping[str, float]]


def run(site: Site, tell: Callable[[str], None]) -> Found:
    """Directly, through Sidecar and through nginx, interleaved; a pace that one of them cannot keep
    is left out for all in that round.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    rounds: dict[int, list[Round]] = {rate: [] for rate in RATES}
    with ExitStack() as stack:
        site = Site(site.folder, stack.enter_context(upstream()), site.workload)
        ports = {_DIRECT: site.upstream}
        for name, started in ((sidecar.NAME, sidecar.started), (nginx.NAME, nginx.started)):
            ports[name] = stack.enter_context(started(site)).port
        for number in range(ROUNDS):
            for rate in RATES:
                try:
                    taken = {name: told(_command(site, ports[name], rate), name) for name in ports}
                except RuntimeError as error:
                    if not is_for_want_of_cpu(str(error)):
                        raise
                    tell(f"latency {number + 1}/{ROUNDS} at {rate}/s is left out: {error}")
                    continue
                rounds[rate].append(taken)
                shown = ", ".join(
                    f"{name} {each['p50_ms']:.2f}/{each['p99_ms']:.2f}"
                    for name, each in taken.items()
                )
                tell(f"latency {number + 1}/{ROUNDS} at {rate}/s  p50/p99 ms: {shown}")
    measures = {
        _measure(rate, percentile, name): added(rounds[rate], name, percentile)
        for rate in RATES
        if rounds[rate]
        for name in ports
        if name != _DIRECT
        for percentile in _PERCENTILES
    }
    tell(f"\n{_table(rounds, list(ports), measures)}\n")
    return Found(measures, {"rounds": {str(rate): found for rate, found in rounds.items()}})


def is_for_want_of_cpu(text: str) -> bool:
    """Whether a round says nothing because the machine could not keep the pace."""
    return COME_AGAIN in text or NO_ANSWER in text


def _measure(rate: int, percentile: str, name: str) -> str:
    """Its name among all measures."""
    at = "" if rate == JUDGED_RATE else f" at {rate}/s"
    return f"latency{at}: {percentile} added by {name}"


def _table(
    rounds: Mapping[int, list[Round]], ways: Iterable[str], measures: Mapping[str, float]
) -> str:
    """Medians of the rounds, and what is added."""
    rows = [["requests/s", "", "p50 ms", "p99 ms", "adds to p50", "adds to p99"]]
    for rate, taken in rounds.items():
        for way in ways if taken else ():
            found = [f"{median(each[way][p] for each in taken):.2f}" for p in _PERCENTILES]
            added_ms = [measures.get(_measure(rate, p, way)) for p in _PERCENTILES]
            shown = ["" if each is None else f"{each:+.2f}" for each in added_ms]
            rows.append([str(rate), way, *found, *shown])
    return columns(rows)


def added(rounds: Iterable[Round], name: str, percentile: str) -> float:
    """Milliseconds above the direct way: the median of the rounds' differences."""
    return median(each[name][percentile] - each[_DIRECT][percentile] for each in rounds)


def _command(site: Site, port: int, rate: int) -> list[str]:
    command = [sys.executable, "-m", "perf.load.paced", "--port", str(port)]
    command += ["--connections", str(CONNECTIONS), "--rate", str(rate)]
    return [*command, "--seconds", str(SECONDS), "--requests", str(site.workload.requests)]
