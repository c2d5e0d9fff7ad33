"""Latency that a proxy adds at 1 000 requests a second, against asking the upstream directly."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from statistics import median

from perf.peers import nginx, sidecar
from perf.peers.peer import Site
from perf.rounds import CONNECTIONS, told, upstream
from perf.scenarios.found import Found

RATE = 1_000
ROUNDS, SECONDS = 5, 5.0
_DIRECT = "direct"
_PERCENTILES = ("p50_ms", "p99_ms")


def run(site: Site, tell: Callable[[str], None]) -> Found:
    """Directly, through Sidecar and through nginx, interleaved.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    rounds: list[dict[str, Mapping[str, float]]] = []
    with ExitStack() as stack:
        site = Site(site.folder, stack.enter_context(upstream()), site.workload)
        ports = {_DIRECT: site.upstream}
        for name, started in ((sidecar.NAME, sidecar.started), (nginx.NAME, nginx.started)):
            ports[name] = stack.enter_context(started(site)).port
        for number in range(ROUNDS):
            rounds.append({name: told(_command(site, ports[name]), name) for name in ports})
            shown = ", ".join(
                f"{name} {each['p50_ms']:.2f}/{each['p99_ms']:.2f}"
                for name, each in rounds[-1].items()
            )
            tell(f"latency {number + 1}/{ROUNDS}  p50/p99 ms: {shown}")
    measures = {
        f"latency: {percentile} added by {name}": added(rounds, name, percentile)
        for name in ports
        if name != _DIRECT
        for percentile in _PERCENTILES
    }
    return Found(measures, {"rate": RATE, "rounds": [dict(each) for each in rounds]})


def added(rounds: Iterable[Mapping[str, Mapping[str, float]]], name: str, percentile: str) -> float:
    """Milliseconds above the direct way: the median of the rounds' differences."""
    return median(each[name][percentile] - each[_DIRECT][percentile] for each in rounds)


def _command(site: Site, port: int) -> list[str]:
    command = [sys.executable, "-m", "perf.load.paced", "--port", str(port)]
    command += ["--connections", str(CONNECTIONS), "--rate", str(RATE)]
    return [*command, "--seconds", str(SECONDS), "--requests", str(site.workload.requests)]
