"""Growth in small pictures side by side: what each size costs by what the smallest does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf.plots.drawing import COLOURS, INK, drawing, saved

_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        points: size -> (value, lowest, highest of the rounds).
    """

    name: str
    points: Sequence[tuple[float, float, float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One small picture.

    Attributes:
        sizes: what grows, with its unit.
        values: what is shown.
        steep: whether values are shown on a logarithmic scale, too.
    """

    title: str
    sizes: str
    values: str
    lines: list[Line] = field(default_factory=list)
    steep: bool = False


def draw(panels: list[Panel], folder: Path, name: str) -> list[Path]:
    """All panels in one figure; PNG and SVG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with drawing() as pyplot:
        figure, grid = pyplot.subplots(
            rows, columns, figsize=(3.6 * columns, 2.9 * rows), squeeze=False
        )
        places = [axes for row in grid for axes in row]
        for axes, panel in zip(places, panels, strict=False):
            _panel(axes, panel)
        for axes in places[len(panels) :]:
            axes.set_visible(False)
        figure.tight_layout()
        written = saved(figure, folder, name)
        pyplot.close(figure)
    return written


def _panel(axes: Any, panel: Panel) -> None:
    for line, colour in zip(panel.lines, COLOURS, strict=False):
        sizes = [point[0] for point in line.points]
        values = [point[1] for point in line.points]
        spread = (
            [max(0.0, value - low) for _, value, low, _ in line.points],
            [max(0.0, high - value) for _, value, _, high in line.points],
        )
        axes.errorbar(
            sizes, values, yerr=spread, color=colour, marker="o", markersize=4,
            linewidth=1.6, elinewidth=1.0, capsize=2.5, label=line.name,
        )  # fmt: skip
    # Sizes may begin with none at all.
    smallest = min(size for line in panel.lines for size, *_ in line.points)
    axes.set_xscale("symlog" if smallest == 0 else "log")
    ticks = sorted({size for line in panel.lines for size, *_ in line.points})
    axes.set_xticks(ticks, [short(size) for size in ticks], fontsize=8)
    axes.minorticks_off()
    if panel.steep:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0.0)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_title(panel.title, fontsize=10, color=INK, weight="bold", loc="left")
    axes.set_xlabel(panel.sizes, fontsize=8.5)
    axes.set_ylabel(panel.values, fontsize=8.5)
    if len(panel.lines) > 1:
        axes.legend(frameon=False, fontsize=8)


def short(size: float) -> str:
    """A number with few places: 30k, 1M."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit:
            return f"{size / unit:g}{letter}"
    return f"{size:g}"
