"""A pool of connections that is asked for eight times what it has: how full it is, who waits."""

import json
from collections.abc import Callable, Mapping
from http.client import HTTPConnection

from perf.load.slow import ANSWER_SECONDS
from perf.peers import sidecar
from perf.peers.peer import Site
from perf.rounds import CONNECTIONS, generated, upstream
from perf.scenarios.found import Found

POOL = 8
SECONDS = 10.0


def run(site: Site, tell: Callable[[str], None]) -> Found:
    """Sidecar with few connections before a slow upstream, more clients than both.

    Raises:
        RuntimeError: an answer was not the expected one, or the pool was larger than allowed.
    """
    with upstream("perf.load.slow") as port:
        site = Site(site.folder, port, site.workload)
        with sidecar.configured(site, sidecar.NAME, application={"connections": POOL}) as peer:
            told = generated(peer, site.workload, SECONDS)
            totals = _totals(port)
    if totals["most_open"] > POOL:
        raise RuntimeError(f"{totals['most_open']:g} connections upstream, allowed are {POOL}")
    measures = {
        "pool: utilised": utilised(told, totals),
        "pool: longest wait by the ideal": told["most_ms"] / ideal_ms(totals),
    }
    tell(
        f"pool of {POOL}, {CONNECTIONS} clients, answers after {ANSWER_SECONDS * 1e3:g} ms:"
        f" utilised {measures['pool: utilised']:.1%}, p50 {told['p50_ms']:.0f} ms,"
        f" p99 {told['p99_ms']:.0f} ms, longest {told['most_ms']:.0f} ms,"
        f" ideal {ideal_ms(totals):.0f} ms"
    )
    return Found(measures, {"load": dict(told), "upstream": dict(totals)})


def _held_seconds(totals: Mapping[str, float]) -> float:
    """What an answer really took upstream: a busy machine's timers are late."""
    return totals["busy_seconds"] / totals["answers"]


def utilised(told: Mapping[str, float], totals: Mapping[str, float]) -> float:
    """Share of the pool that was waiting for an answer (Little's law: rate x time by places)."""
    return told["requests"] / told["seconds"] * _held_seconds(totals) / POOL


def ideal_ms(totals: Mapping[str, float]) -> float:
    """What each client would wait if the pool were always full, and its queue fair."""
    return CONNECTIONS / POOL * _held_seconds(totals) * 1e3


def _totals(port: int) -> Mapping[str, float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", "/busy")
        totals: dict[str, float] = json.loads(connection.getresponse().read())
        return totals
    finally:
        connection.close()
