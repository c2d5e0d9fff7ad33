"""What was measured against `thresholds.json`: gates that must hold, goals that are told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.report import columns, ratio
from perf.rounds import Figure

THRESHOLDS = Path(__file__).parent / "thresholds.json"


@dataclass(frozen=True, slots=True)
class Limit:
    """How far a figure may go.

    Attributes:
        name: of a scenario's measure, or ``above/below`` for a ratio of CPU per request.
        goal: what is wanted.
        gate: what must hold; None for times, which are only told.
        at_least: whether larger is better.
        note: why it is not met, where that is known.
    """

    name: str
    goal: float
    gate: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """The peers of a ratio."""
        above, _, below = self.name.partition("/")
        return above, below

    def meets(self, found: float, limit: float) -> bool:
        return found >= limit if self.at_least else found <= limit

    def outcome(self, found: float) -> str:
        """In words."""
        if self.meets(found, self.goal):
            return "goal met"
        if self.gate is None:
            return "goal missed"
        return "gate met, goal missed" if self.meets(found, self.gate) else "MISSED"


@dataclass(frozen=True, slots=True)
class Judged:
    """A figure and its limit.

    Attributes:
        found: None where it was not measured.
        shown: the figure with its spread.
    """

    limit: Limit
    found: float | None
    shown: str


def limits(section: str) -> list[Limit]:
    """Those of the file, in its order: of ``cpu_per_request`` or of ``scenarios``."""
    decoded: dict[str, Any] = json.loads(THRESHOLDS.read_text())
    notes: dict[str, str] = decoded["notes"]
    return [
        Limit(name=name, note=notes.get(name, ""), **given)
        for name, given in decoded[section].items()
    ]


def judged(figures: list[Figure], measures: Mapping[str, float]) -> list[Judged]:
    """Every limit of the file beside what was found."""
    verdicts = []
    for limit in limits("cpu_per_request"):
        found = ratio(figures, *limit.pair)
        verdicts.append(
            Judged(limit, None, "") if found is None else Judged(limit, found.value, str(found))
        )
    for limit in limits("scenarios"):
        value = measures.get(limit.name)
        verdicts.append(Judged(limit, value, "" if value is None else f"{value:.2f}"))
    return verdicts


def table(verdicts: list[Judged]) -> str:
    """A line for each limit that something was found for; the others in one line."""
    rows = [["", "found", "gate", "goal", ""]]
    for each in verdicts:
        if each.found is None:
            continue
        limit = each.limit
        gate = "" if limit.gate is None else f"{limit.gate:g}"
        rows.append([limit.name, each.shown, gate, f"{limit.goal:g}", limit.outcome(each.found)])
    rest = [each.limit.name for each in verdicts if each.found is None]
    return columns(rows) + (f"\nnot measured: {', '.join(rest)}" if rest else "")


def exceeded(verdicts: list[Judged]) -> list[str]:
    """A sentence for each gate that does not hold; what was not measured is not judged."""
    return [
        f"{limit.name} is {each.shown}, allowed is {limit.gate:g}"
        + (f" ({limit.note})" if limit.note else "")
        for each in verdicts
        if each.found is not None
        and (limit := each.limit).gate is not None
        and not limit.meets(each.found, limit.gate)
    ]
