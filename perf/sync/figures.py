"""Percentiles, tables, and the file of results."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from perf import machine

RESULTS = Path(__file__).parents[1] / "results" / "sync.json"


@dataclass(frozen=True, slots=True)
class Times:
    """What one thing takes.

    Attributes:
        name: what was measured.
        unit: ``us`` or ``ms``.
        p50: median, in `unit`.
        p99: 99th percentile, in `unit`.
        count: how many were measured.
    """

    name: str
    unit: str
    p50: float
    p99: float
    count: int


def times(name: str, unit: str, seconds: Sequence[float]) -> Times:
    """The percentiles of `seconds`, in `unit`."""
    factor = {"us": 1e6, "ms": 1e3}[unit]
    ordered = sorted(each * factor for each in seconds)
    count = len(ordered)
    return Times(name, unit, ordered[count // 2], ordered[min(count * 99 // 100, count - 1)], count)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they have to be; the first one left, the others right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )


def times_table(measured: Sequence[Times]) -> str:
    """One line for each."""
    show: Callable[[float], str] = "{:.2f}".format
    return table(
        ("", "unit", "p50", "p99", "count"),
        [
            (each.name, each.unit, show(each.p50), show(each.p99), str(each.count))
            for each in measured
        ],
    )


def write(measured: Sequence[Times], ratios: Sequence[dict[str, float]]) -> Path:
    """Writes what was measured, and on what, to `RESULTS`."""
    RESULTS.parent.mkdir(exist_ok=True)
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.described(),
        "times": [asdict(each) for each in measured],
        "hit_ratios": list(ratios),
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    return RESULTS
