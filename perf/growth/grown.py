"""Figures by size, in multiples of what the smallest size costs in the same run."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median

from perf.plots.growth import Line, Panel
from perf.report import Ratio, columns

# Line -> size -> its figure in each round.
Lines = dict[str, dict[int, list[float]]]


@dataclass(frozen=True, slots=True)
class Growth:
    """One figure of one thing that grows.

    Attributes:
        what: that grows.
        sizes: its unit.
        values: what was measured, with its unit.
        is_relative: whether it is shown as multiples of each line's smallest size.
        base: the size that is 1 there, where it is not the smallest.
        is_steep: whether a plot needs a logarithmic scale.
    """

    what: str
    sizes: str
    values: str
    lines: Lines
    is_relative: bool = True
    base: int | None = None
    is_steep: bool = False

    def shown(self, line: str, size: int) -> Ratio:
        """One point: median and the range of the rounds."""
        found = self.lines[line][size]
        if not self.is_relative:
            return Ratio(median(found), min(found), max(found))
        base = self.lines[line][self._base(line)]
        each = [value / one for value, one in zip(found, base, strict=True)]
        return Ratio(median(found) / median(base), min(each), max(each))

    def _base(self, line: str) -> int:
        return min(self.lines[line]) if self.base is None else self.base

    def table(self) -> str:
        """A row for each line and size."""
        rows = [[f"{self.what}: {self.sizes}", "", self.values, ""]]
        for line, by_size in self.lines.items():
            for size, found in by_size.items():
                spread = f"{median(found):.1f} ({min(found):.1f}-{max(found):.1f})"
                ratio = (
                    f"{self.shown(line, size)} of {self._base(line)}" if self.is_relative else ""
                )
                rows.append([line, str(size), spread, ratio])
        return columns(rows)

    def panel(self) -> Panel:
        """For a plot."""
        drawn = []
        for line, by_size in self.lines.items():
            shown = {size: self.shown(line, size) for size in by_size}
            drawn.append(Line(line, [(size, r.value, r.low, r.high) for size, r in shown.items()]))
        base = "the smallest" if self.base is None else f"{self.base}"
        values = f"{self.values}; {base} is 1" if self.is_relative else self.values
        return Panel(self.what, self.sizes, values, drawn, steep=self.is_steep)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def gathered(rounds: Iterable[dict[tuple[str, int], float]]) -> Lines:
    """Lines of rounds that each say (line, size) -> figure."""
    lines: Lines = {}
    for each in rounds:
        for (line, size), value in each.items():
            lines.setdefault(line, {}).setdefault(size, []).append(value)
    return lines
