"""What was measured against `thresholds.json`: gates that must hold, goals that are told."""

import json
from dataclasses import dataclass
from pathlib import Path

from perf.report import Ratio, columns, ratio
from perf.rounds import Figure

THRESHOLDS = Path(__file__).parent / "thresholds.json"


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest ratio of CPU per request that is allowed, and the one that is wanted."""

    above: str
    below: str
    gate: float
    goal: float
    note: str = ""

    @property
    def pair(self) -> str:
        return f"{self.above}/{self.below}"


def limits() -> list[Limit]:
    """Those of the file, in its order."""
    decoded = json.loads(THRESHOLDS.read_text())
    notes: dict[str, str] = decoded["notes"]
    found = []
    for pair, given in decoded["cpu_per_request"].items():
        above, below = pair.split("/")
        found.append(Limit(above, below, given["gate"], given["goal"], notes.get(pair, "")))
    return found


def told(figures: list[Figure], given: list[Limit]) -> str:
    """A line for each limit: found, allowed, wanted, and what follows."""
    rows = [["CPU per request", "found", "gate", "goal", ""]]
    for limit in given:
        found = ratio(figures, limit.above, limit.below)
        shown = "" if found is None else str(found)
        rows.append(
            [limit.pair, shown, f"{limit.gate:g}", f"{limit.goal:g}", _outcome(found, limit)]
        )
    return columns(rows)


def _outcome(found: Ratio | None, limit: Limit) -> str:
    if found is None:
        return "not measured"
    if found.value <= limit.goal:
        return "goal met"
    return "gate met, goal missed" if found.value <= limit.gate else "MISSED"


def exceeded(figures: list[Figure], given: list[Limit]) -> list[str]:
    """A sentence for each gate that does not hold; what was not measured is not judged."""
    return [
        f"{limit.pair} is {found}, allowed is {limit.gate:g}"
        + (f" ({limit.note})" if limit.note else "")
        for limit in given
        if (found := ratio(figures, limit.above, limit.below)) and found.value > limit.gate
    ]
