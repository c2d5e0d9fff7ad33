import json
from pathlib import Path

import pytest

from perf.gate import limits as gate
from perf.gate.__main__ import ATTEMPTS, settled
from perf.gate.limits import PROXY, Limit
from perf.gate.ratios import PARTS, measured

LIMIT = Limit("relay", usual=2.0, tolerance=0.1, what="a by b", look="python -m x")


@pytest.mark.parametrize(("found", "holds"), [(1.0, True), (2.2, True), (2.21, False)])
def test_a_figure_holds_up_to_the_tolerance(found: float, *, holds: bool) -> None:
    assert LIMIT.holds(found) is holds
    assert ("EXCEEDED" in LIMIT.told(found)) is not holds


def test_one_good_figure_is_enough_and_ends_the_attempts() -> None:
    found = iter((3.0, 2.1, 9.0))
    told: list[str] = []
    assert settled(LIMIT, lambda: next(found), told.append) == 2.1
    assert len(told) == 2


def test_a_slower_sidecar_is_slower_each_time() -> None:
    found = iter((3.0, 2.5, 2.6))
    told: list[str] = []
    assert settled(LIMIT, lambda: next(found), told.append) == 2.5
    assert len(told) == ATTEMPTS


def test_advice_names_how_much_and_what_to_do() -> None:
    advice = LIMIT.advice(2.5)
    assert "25% more" in advice
    assert "python -m x" in advice
    assert "--only relay --write" in advice


def test_there_is_a_limit_for_each_part_and_for_the_whole() -> None:
    assert set(gate.limits()) == {*PARTS, PROXY}


def test_what_is_written_is_the_usual_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "limits.json"
    copy.write_text(gate.PATH.read_text())
    monkeypatch.setattr(gate, "PATH", copy)
    gate.write({"relay": 1.23456})
    assert gate.limits()["relay"].usual == 1.235
    before = json.loads(copy.read_text())["ratios"]["relay"]["tolerance"]
    assert gate.limits()["relay"].tolerance == before


def test_another_interpreter_is_judged_by_the_whole_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.99.1")
    assert gate.is_judged(PROXY)
    assert not gate.is_judged("relay")


@pytest.mark.parametrize("part", list(PARTS))
async def test_each_part_runs(part: str) -> None:
    with PARTS[part]() as turn:
        assert measured(turn, rounds=2) > 0
