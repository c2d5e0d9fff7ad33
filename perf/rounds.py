"""The interleaved run: every round measures each proxy once, in an order that rotates."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from perf.load.doubts import Doubt
from perf.load.generator import COME_AGAIN
from perf.peers.peer import EXPECTED, Peer
from perf.workload import Workload

CONNECTIONS = 64
# The first pass of all tokens verifies them; the generator sends each twice at least.
WARM_UP_SECONDS = 1.0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Figure:
    """One proxy in one round.

    Attributes:
        cpu_us: CPU time per request, microseconds: of the proxy, and of the service it asks where
            that counts.
        service_us: of that service alone, counted or not.
        rate: requests per second.
        busy: share of a core that both used; well below 1 means they waited for the load.
        p50_ms: median latency.
        p99_ms: 99th percentile.
        requests: how many were answered.
        doubted: requests beside them that were answered as they must be, refused or not.
    """

    peer: str
    round: int
    cpu_us: float
    service_us: float
    rate: float
    busy: float
    p50_ms: float
    p99_ms: float
    requests: int
    doubted: int = 0

    def as_dict(self) -> dict[str, float | str]:
        return asdict(self)


@contextmanager
def upstream(module: str = "perf.load.upstream") -> Iterator[int]:
    """An application that tells its port, the cheap one if no other is named; yields the port."""
    child = subprocess.Popen([sys.executable, "-m", module], stdout=subprocess.PIPE)
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
) -> tuple[list[Figure], dict[str, str]]:
    """Measures all peers in all rounds; one that fails is left out from there on.

    Returns:
        The figures of those that answered as they should all the time; why others did not.
    """
    figures: list[Figure] = []
    failed: dict[str, str] = {}
    for number in range(rounds):
        turn = number % len(peers)
        for peer in peers[turn:] + peers[:turn]:
            if peer.name in failed:
                continue
            try:
                doubts = doubted(peer, workload)
                measure = partial(generated, peer, workload, seconds, doubts=doubts)
                taken = figure(peer, number, patiently(peer.name, measure, tell))
            except RuntimeError as error:
                failed[peer.name] = str(error)
                tell(f"round {number + 1}/{rounds}  {error}")
                continue
            tell(
                f"round {number + 1}/{rounds}  {peer.name:16} {taken.cpu_us:7.1f} µs CPU/request"
                f"  {taken.rate:7.0f}/s  p99 {taken.p99_ms:.2f} ms"
            )
            figures.append(taken)
    return [each for each in figures if each.peer not in failed], failed


def patiently(
    name: str, measure: Callable[[], Mapping[str, float]], tell: Callable[[str], None]
) -> Mapping[str, float]:
    """What is told about one peer, asked once more where it told a client to come again.

    Raises:
        RuntimeError: it did so each time, or answered wrong.
    """
    for _ in range(_TRIES - 1):
        try:
            return measure()
        except RuntimeError as error:
            if COME_AGAIN not in str(error):
                raise
            tell(f"{name} told a client to come again (503): once more")
    return measure()


def doubted(peer: Peer, workload: Workload) -> Path:
    """A file with what the peer must refuse, each beside a sound request."""
    sound = Doubt("a sound request", workload.sound, frozenset({200}))
    path = workload.requests.parent / f"doubts-{peer.name}.json"
    doubts = []
    for each in workload.probes:
        doubts += [sound, Doubt(each.why, each.request, EXPECTED[peer.guard][each.fault])]
    path.write_text(json.dumps([each.as_dict() for each in doubts]))
    return path


def generated(
    peer: Peer,
    workload: Workload,
    seconds: float,
    *,
    requests: Path | None = None,
    connections: int = CONNECTIONS,
    doubts: Path | None = None,
) -> Mapping[str, float]:
    """What the load generator tells about one peer (`perf.load.generator.measure`).

    Args:
        requests: others than those of the workload.
        connections: of which no more than `CONNECTIONS` are used at the same moment.
        doubts: what is sent beside, in a file.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    command = [sys.executable, "-m", "perf.load.generator"]
    for name, value in (
        ("requests", requests or workload.requests),
        ("port", peer.port),
        ("pid", peer.pid),
        ("connections", connections),
        ("at-once", CONNECTIONS),
        ("warm-up", WARM_UP_SECONDS),
        ("seconds", seconds),
    ):
        command += [f"--{name}", str(value)]
    if doubts is not None:
        command += ["--doubts", str(doubts)]
    if peer.service is not None:
        command += ["--service-pid", str(peer.service.pid)]
    if peer.tls:
        command += ["--certificate", str(workload.certificate)]
    return told(command, peer.name)


def told(command: list[str], name: str) -> Mapping[str, float]:
    """The one line of JSON that a load generator prints.

    Raises:
        RuntimeError: it failed, or an answer was not the expected one.
    """
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{name}: {ended.stderr.strip()[-2_000:]}")
    figures: dict[str, float] = json.loads(ended.stdout)
    return figures


def figure(peer: Peer, number: int, given: Mapping[str, float]) -> Figure:
    """What the generator told, for each request."""
    requests, seconds = given["requests"], given["seconds"]
    asked = given.get("cpu_seconds_service", 0.0)
    counted = peer.service is not None and peer.service.counted
    return Figure(
        peer=peer.name,
        round=number,
        cpu_us=(given["cpu_seconds_proxy"] + (asked if counted else 0.0)) / requests * 1e6,
        service_us=asked / requests * 1e6,
        rate=requests / seconds,
        busy=(given["cpu_seconds_proxy"] + asked) / seconds,
        p50_ms=given["p50_ms"],
        p99_ms=given["p99_ms"],
        requests=int(requests),
        doubted=int(given.get("doubted", 0)),
    )
