from dataclasses import replace

import pytest

from perf.peers.peer import Guard, Peer, Service
from perf.report import Ratio, columns, ratio, table
from perf.rounds import Figure, figure

TOLD = {
    "requests": 1_000.0,
    "seconds": 2.0,
    "cpu_seconds_proxy": 0.1,
    "p50_ms": 1.0,
    "p99_ms": 3.0,
}


def peer(name: str, service: Service | None = None) -> Peer:
    return Peer(name, "1.0", 1, 1, Guard.NONE, service)


def taken(name: str, *cpu_us: float) -> list[Figure]:
    first = figure(peer(name), 0, TOLD)
    return [replace(first, round=number, cpu_us=each) for number, each in enumerate(cpu_us)]


def test_a_figure_is_for_each_request() -> None:
    found = figure(peer("a"), 3, TOLD)
    assert (found.peer, found.round, found.requests) == ("a", 3, 1_000)
    assert found.cpu_us == pytest.approx(100.0)
    assert found.rate == pytest.approx(500.0)
    assert found.busy == pytest.approx(0.05)
    assert found.service_us == 0.0


@pytest.mark.parametrize(("counted", "cpu_us"), [(True, 150.0), (False, 100.0)])
def test_a_service_is_always_shown_and_counts_where_it_is_said(
    *, counted: bool, cpu_us: float
) -> None:
    asking = peer("a", Service("static", 2, counted))
    found = figure(asking, 0, TOLD | {"cpu_seconds_service": 0.05})
    assert found.cpu_us == pytest.approx(cpu_us)
    assert found.service_us == pytest.approx(50.0)
    assert found.busy == pytest.approx(0.075)
    shown = table([found], [asking])
    assert ("of it 50.0" if counted else "beside it 50.0") in shown


def test_the_ratio_is_that_of_the_medians_and_its_spread_that_of_the_rounds() -> None:
    figures = taken("a", 10, 30, 20) + taken("b", 10, 10, 40)
    assert ratio(figures, "a", "b") == Ratio(2.0, 0.5, 3.0)


def test_there_is_no_ratio_to_what_was_not_measured() -> None:
    assert ratio(taken("a", 10), "a", "b") is None
    assert ratio(taken("a", 10), "b", "a") is None


def test_the_table_leaves_out_who_has_no_figures() -> None:
    shown = table(taken("a", 10) + taken("nginx", 5), [peer("a"), peer("gone"), peer("nginx")])
    assert "gone" not in shown
    assert "2.00 (2.00-2.00)" in shown.splitlines()[1]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert columns([["a", "bb"], ["ccc", ""]]) == "a    bb\nccc"
