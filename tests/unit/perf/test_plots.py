from pathlib import Path

import pytest

from perf.peers.peer import Guard, Peer
from perf.plots import drawing
from perf.plots.growth import short
from perf.plots.peers import bars
from perf.rounds import Figure


def figure(name: str, cpu_us: float) -> Figure:
    return Figure(name, 0, cpu_us, 0.0, 1.0, 1.0, 1.0, 1.0, 1)


def peer(name: str) -> Peer:
    return Peer(name, "1", 1, 1, Guard.NONE)


def test_bars_are_those_that_were_measured_the_cheapest_first() -> None:
    peers = [peer("sidecar"), peer("absent"), peer("nginx")]
    found = bars([figure("sidecar", 60.0), figure("nginx", 30.0)], peers)
    assert [(bar.name, bar.times.value) for bar in found] == [("nginx", 1.0), ("sidecar", 2.0)]
    assert [bar.is_ours for bar in found] == [False, True]


def test_without_nginx_there_is_nothing_to_draw() -> None:
    assert bars([figure("sidecar", 60.0)], [peer("sidecar")]) == []


def test_without_matplotlib_it_is_said_and_nothing_fails() -> None:
    def draw() -> list[Path]:
        raise ModuleNotFoundError("no", name="matplotlib")

    told: list[str] = []
    drawing.told(draw, told.append)
    assert told == [drawing.ABSENT]


def test_another_module_that_is_missing_is_a_fault() -> None:
    def draw() -> list[Path]:
        raise ModuleNotFoundError("no", name="perf.gone")

    with pytest.raises(ModuleNotFoundError):
        drawing.told(draw, print)


def test_what_was_drawn_is_told() -> None:
    told: list[str] = []
    drawing.told(lambda: [Path("a.png"), Path("a.svg")], told.append)
    assert told == ["drawn to a.png", "drawn to a.svg"]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (30, "30"), (64_000, "64k"), (1_000_000, "1M")]
)
def test_sizes_are_short(size: float, text: str) -> None:
    assert short(size) == text
