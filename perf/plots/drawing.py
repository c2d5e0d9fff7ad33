"""What all plots share: colours for light and dark pages, and files that are PNG and SVG.

Backgrounds are transparent and ink is a middle grey, which has a contrast above 4 both on white
and on the near-black of dark pages.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INK = "#7d8590"
OURS = "#2f81f7"
THEIRS = "#8b949e"
# Told apart also by those who do not see all colours (after Okabe and Ito, a little darker).
COLOURS = (OURS, "#d9820f", "#1a9e77", "#c2559d")
ABSENT = "no plots: matplotlib is not installed (`make perf` does that)"

_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": INK,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    # Text as text: searchable, and a tenth of the size.
    "svg.fonttype": "none",
    # The same figures make the same file.
    "svg.hashsalt": "sidecar",
}


@contextmanager
def drawing() -> Iterator[Any]:
    """``matplotlib.pyplot`` in our style, without a screen.

    Raises:
        ModuleNotFoundError: there is none.
    """
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    with matplotlib.rc_context(_STYLE):
        yield pyplot


def saved(figure: Any, folder: Path, name: str) -> list[Path]:
    """Writes the figure as ``name.png`` and ``name.svg``."""
    folder.mkdir(exist_ok=True)
    written = [folder / f"{name}.png", folder / f"{name}.svg"]
    figure.savefig(written[0], dpi=160, bbox_inches="tight")
    figure.savefig(written[1], bbox_inches="tight", metadata={"Date": None})
    return written


def told(draw: Callable[[], list[Path]], tell: Callable[[str], None]) -> None:
    """Draws, and tells where to, or why not."""
    try:
        written = draw()
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        tell(ABSENT)
        return
    for path in written:
        tell(f"drawn to {path}")
