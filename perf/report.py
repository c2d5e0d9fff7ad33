"""Figures as a table, ratios, and a file."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from perf import machine
from perf.peers.peer import Peer
from perf.rounds import Figure

RESULTS = Path(__file__).parent / "results" / "latest.json"
_REFERENCE = "nginx"


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

    def rounded(self) -> dict[str, float]:
        """For a file."""
        return {name: round(getattr(self, name), 4) for name in ("value", "low", "high")}


def ratio(figures: Iterable[Figure], above: str, below: str) -> Ratio | None:
    """How much more CPU per request `above` takes than `below`, in the same run.

    Returns:
        None where one of them was not measured.
    """
    figures = list(figures)
    first, second = _by_round(figures, above), _by_round(figures, below)
    if not first or not second:
        return None
    each = [first[number] / second[number] for number in first]
    return Ratio(median(first.values()) / median(second.values()), min(each), max(each))


def _by_round(figures: list[Figure], name: str) -> dict[int, float]:
    return {figure.round: figure.cpu_us for figure in figures if figure.peer == name}


def table(figures: list[Figure], peers: list[Peer]) -> str:
    """A line for each peer that was measured; CPU as median (smallest-largest) over the rounds."""
    head = ["", "version", "checks", "CPU µs/request", "service µs", "requests/s", "core"]
    rows = [[*head, "p50 ms", "p99 ms", f"CPU / {_REFERENCE}"]]
    for peer in peers:
        own = [figure for figure in figures if figure.peer == peer.name]
        if not own:
            continue
        cpu = [figure.cpu_us for figure in own]
        compared = ratio(figures, peer.name, _REFERENCE)
        rows.append(
            [
                peer.name,
                peer.version,
                peer.guard.value,
                f"{median(cpu):.1f} ({min(cpu):.1f}-{max(cpu):.1f})",
                _service(peer, own),
                f"{median(figure.rate for figure in own):.0f}",
                f"{median(figure.busy for figure in own):.0%}",
                f"{median(figure.p50_ms for figure in own):.2f}",
                f"{median(figure.p99_ms for figure in own):.2f}",
                "" if compared is None else str(compared),
            ]
        )
    return columns(rows)


def _service(peer: Peer, own: list[Figure]) -> str:
    """What the service that it asks took: within the figure, or beside it."""
    if peer.service is None:
        return ""
    relation = "of it" if peer.service.counted else "beside it"
    return f"{relation} {median(figure.service_us for figure in own):.1f}"


def columns(rows: list[list[str]]) -> str:
    """Text in columns, each as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def write(
    figures: list[Figure],
    peers: list[Peer],
    seconds: float,
    *,
    pairs: Iterable[tuple[str, str]],
    absent: Mapping[str, str],
    scenarios: Mapping[str, object],
) -> Path:
    """Writes everything that was measured, and on what, to `RESULTS`."""
    RESULTS.parent.mkdir(exist_ok=True)
    found = {f"{above}/{below}": ratio(figures, above, below) for above, below in pairs}
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.described(),
        "versions": {peer.name: peer.version for peer in peers},
        "services": {peer.name: peer.service.name for peer in peers if peer.service},
        "checks": {peer.name: peer.guard.value for peer in peers},
        "absent": dict(absent),
        "seconds": seconds,
        "ratios": {pair: each.rounded() for pair, each in found.items() if each is not None},
        "scenarios": dict(scenarios),
        "rounds": [figure.as_dict() for figure in figures],
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    return RESULTS
