"""CPU for each request of every proxy, in multiples of bare nginx."""

from dataclasses import dataclass
from pathlib import Path

from perf.peers.peer import Peer
from perf.plots.drawing import INK, OURS, THEIRS, drawing, saved
from perf.report import Ratio, ratio
from perf.rounds import Figure

_REFERENCE = "nginx"


@dataclass(frozen=True, slots=True)
class Bar:
    """One proxy.

    Attributes:
        checks: what it looks at.
        times: CPU by that of nginx.
    """

    name: str
    checks: str
    times: Ratio

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("sidecar")


def bars(figures: list[Figure], peers: list[Peer]) -> list[Bar]:
    """A bar for each peer that was measured beside nginx, the cheapest first."""
    found = [
        Bar(peer.name, peer.guard.value, times)
        for peer in peers
        if (times := ratio(figures, peer.name, _REFERENCE)) is not None
    ]
    return sorted(found, key=lambda bar: bar.times.value)


def draw(shown: list[Bar], folder: Path) -> list[Path]:
    """Horizontal bars with the range of the rounds; PNG and SVG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    with drawing() as pyplot:
        figure, axes = pyplot.subplots(figsize=(9.0, 0.8 + 0.46 * len(shown)))
        values = [bar.times.value for bar in shown]
        below = [max(0.0, bar.times.value - bar.times.low) for bar in shown]
        above = [max(0.0, bar.times.high - bar.times.value) for bar in shown]
        axes.barh(
            range(len(shown)),
            values,
            height=0.62,
            color=[OURS if bar.is_ours else THEIRS for bar in shown],
            alpha=0.6,
            xerr=(below, above),
            error_kw={"ecolor": INK, "elinewidth": 1.2, "capsize": 3},
        )
        for place, bar in enumerate(shown):
            axes.annotate(
                f"{bar.times.value:.2f}",
                (max(bar.times.value, bar.times.high), place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                weight="bold" if bar.is_ours else "normal",
            )
        axes.set_yticks(range(len(shown)), [f"{bar.name}\n{bar.checks}" for bar in shown])
        for label, bar in zip(axes.get_yticklabels(), shown, strict=True):
            label.set(fontsize=8.5, linespacing=1.25, weight="bold" if bar.is_ours else "normal")
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.axvline(1.0, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(
            "CPU for a request; bare nginx is 1 (median; line: lowest to highest round)"
        )
        written = saved(figure, folder, "peers")
        pyplot.close(figure)
    return written
