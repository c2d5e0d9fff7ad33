"""Figures as a table, ratios, a file, and a verdict."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from perf import machine
from perf.peers.peer import Peer
from perf.rounds import Figure

_FOLDER = Path(__file__).parent
RESULTS = _FOLDER / "results" / "latest.json"
THRESHOLDS = _FOLDER / "thresholds.json"


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU per request of one peer by that of another.

    Attributes:
        value: ratio of the medians.
        low, high: smallest and largest ratio within one round.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(figures: list[Figure], above: str, below: str) -> Ratio:
    """How much more CPU per request `above` takes than `below`, in the same run."""
    first, second = _by_round(figures, above), _by_round(figures, below)
    each = [first[number] / second[number] for number in first]
    return Ratio(median(first.values()) / median(second.values()), min(each), max(each))


def _by_round(figures: list[Figure], name: str) -> dict[int, float]:
    return {figure.round: figure.cpu_us for figure in figures if figure.peer == name}


def table(figures: list[Figure], peers: list[Peer]) -> str:
    """A line for each peer; CPU as median (smallest-largest) over the rounds."""
    names = [peer.name for peer in peers]
    references = [name for name in ("nginx", "aiohttp") if name in names]
    head = ["", "CPU µs/request", "requests/s", "core", "p50 ms", "p99 ms"]
    rows = [head + [f"CPU / {name}" for name in references]]
    for name in names:
        own = [figure for figure in figures if figure.peer == name]
        cpu = [figure.cpu_us for figure in own]
        rows.append(
            [
                name,
                f"{median(cpu):.1f} ({min(cpu):.1f}-{max(cpu):.1f})",
                f"{median(figure.rate for figure in own):.0f}",
                f"{median(figure.busy for figure in own):.0%}",
                f"{median(figure.p50_ms for figure in own):.2f}",
                f"{median(figure.p99_ms for figure in own):.2f}",
                *(str(ratio(figures, name, reference)) for reference in references),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def write(figures: list[Figure], peers: list[Peer], seconds: float) -> Path:
    """Writes everything that was measured, and on what, to `RESULTS`."""
    RESULTS.parent.mkdir(exist_ok=True)
    thresholds = [pair.split("/") for pair in _thresholds()]
    names = {peer.name for peer in peers}
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.described(),
        "versions": {peer.name: peer.version for peer in peers},
        "seconds": seconds,
        "ratios": {
            f"{above}/{below}": vars_of(ratio(figures, above, below))
            for above, below in thresholds
            if {above, below} <= names
        },
        "rounds": [figure.as_dict() for figure in figures],
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    return RESULTS


def vars_of(given: Ratio) -> dict[str, float]:
    """The ratio, rounded, for a file."""
    return {
        "value": round(given.value, 4),
        "low": round(given.low, 4),
        "high": round(given.high, 4),
    }


def exceeded(figures: list[Figure]) -> list[str]:
    """A sentence for each threshold that the run exceeded, or could not judge."""
    names = {figure.peer for figure in figures}
    told = []
    for pair, limit in _thresholds().items():
        above, below = pair.split("/")
        if not {above, below} <= names:
            told.append(f"{pair} was not measured")
        elif (found := ratio(figures, above, below)).value > limit:
            told.append(f"{pair} is {found}, allowed is {limit}")
    return told


def _thresholds() -> dict[str, float]:
    """Ratio of CPU per request -> the largest that is allowed."""
    decoded: dict[str, float] = json.loads(THRESHOLDS.read_text())["cpu_per_request"]
    return decoded
