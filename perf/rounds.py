"""The interleaved run: every round measures each proxy once, in an order that rotates."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from perf.peers.peer import Peer
from perf.workload import Workload

CONNECTIONS = 64
# The first pass of all tokens verifies them; the generator sends each twice at least.
WARM_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One proxy in one round.

    Attributes:
        cpu_us: CPU time of the proxy per request, microseconds.
        rate: requests per second.
        busy: share of a core that the proxy used; well below 1 means it waited for the load.
        p50_ms: median latency.
        p99_ms: 99th percentile.
        requests: how many were answered.
    """

    peer: str
    round: int
    cpu_us: float
    rate: float
    busy: float
    p50_ms: float
    p99_ms: float
    requests: int

    def as_dict(self) -> dict[str, float | str]:
        return asdict(self)


@contextmanager
def upstream() -> Iterator[int]:
    """The cheap upstream; yields its port."""
    child = subprocess.Popen([sys.executable, "-m", "perf.load.upstream"], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline())
    finally:
        child.terminate()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def measured(
    peers: list[Peer],
    workload: Workload,
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
) -> list[Figure]:
    """Measures all peers in all rounds.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    figures: list[Figure] = []
    for number in range(rounds):
        turn = number % len(peers)
        for peer in peers[turn:] + peers[:turn]:
            figure = _measure(peer, workload, number, seconds)
            tell(
                f"round {number + 1}/{rounds}  {peer.name:8} {figure.cpu_us:7.1f} µs CPU/request"
                f"  {figure.rate:7.0f}/s  p99 {figure.p99_ms:.2f} ms"
            )
            figures.append(figure)
    return figures


def _measure(peer: Peer, workload: Workload, number: int, seconds: float) -> Figure:
    command = [sys.executable, "-m", "perf.load.generator", "--requests", str(workload.requests)]
    for name, value in (
        ("port", peer.port),
        ("pid", peer.pid),
        ("connections", CONNECTIONS),
        ("warm-up", WARM_UP_SECONDS),
        ("seconds", seconds),
    ):
        command += [f"--{name}", str(value)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{peer.name}: {ended.stderr.strip()[-2_000:]}")
    told = json.loads(ended.stdout)
    return Figure(
        peer=peer.name,
        round=number,
        cpu_us=told["cpu_seconds"] / told["requests"] * 1e6,
        rate=told["requests"] / told["seconds"],
        busy=told["cpu_seconds"] / told["seconds"],
        p50_ms=told["p50_ms"],
        p99_ms=told["p99_ms"],
        requests=told["requests"],
    )
