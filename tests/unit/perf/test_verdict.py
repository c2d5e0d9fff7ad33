import json
from dataclasses import replace

import pytest

from perf import verdict
from perf.peers import nginx, sidecar
from perf.peers.catalogue import PEERS
from perf.peers.peer import Guard, Peer
from perf.rounds import Figure, figure
from perf.verdict import Judged, Limit, exceeded, judged, limits, table

UP = Limit("a/b", goal=1.5, gate=1.8)
DOWN = Limit("pool", goal=0.9, gate=0.8, at_least=True)
TIME = Limit("p50_ms", goal=0.3)


@pytest.mark.parametrize(
    ("limit", "found", "outcome"),
    [
        (UP, 1.5, "goal met"),
        (UP, 1.51, "gate met, goal missed"),
        (UP, 1.8, "gate met, goal missed"),
        (UP, 1.81, "MISSED"),
        (DOWN, 0.9, "goal met"),
        (DOWN, 0.85, "gate met, goal missed"),
        (DOWN, 0.79, "MISSED"),
        (TIME, 0.3, "goal met"),
        (TIME, 99.0, "goal missed"),
    ],
)
def test_a_figure_is_judged_by_goal_and_gate(limit: Limit, found: float, outcome: str) -> None:
    assert limit.outcome(found) == outcome
    faults = exceeded([Judged(limit, found, f"{found:g}")])
    assert bool(faults) == (outcome == "MISSED")


def test_what_was_not_measured_is_not_judged_but_named() -> None:
    verdicts = [Judged(UP, None, ""), Judged(DOWN, 0.5, "0.50")]
    assert exceeded(verdicts) == ["pool is 0.50, allowed is 0.8"]
    assert table(verdicts).endswith("not measured: a/b")


def test_why_a_gate_is_known_to_fail_is_told() -> None:
    noted = replace(UP, note="the design says so")
    assert exceeded([Judged(noted, 2.0, "2.00")]) == [
        "a/b is 2.00, allowed is 1.8 (the design says so)"
    ]


def run(name: str, cpu_us: float) -> Figure:
    told = {"requests": 1e6, "seconds": 1.0, "cpu_seconds_proxy": cpu_us, "p50_ms": 1, "p99_ms": 1}
    return figure(Peer(name, "", 1, 1, Guard.NONE), 0, told)


def test_the_file_judges_what_a_run_found() -> None:
    figures = [run(sidecar.NAME, 190), run(nginx.NAME, 100)]
    verdicts = {each.limit.name: each for each in judged(figures, {"pool: utilised": 0.85})}
    assert verdicts["sidecar/nginx"].found == pytest.approx(1.9)
    assert verdicts["pool: utilised"].found == 0.85
    assert verdicts["sidecar/aiohttp"].found is None
    assert exceeded(list(verdicts.values())) == [
        "sidecar/nginx is 1.90 (1.90-1.90), allowed is 1.8"
    ]


def test_the_file_names_peers_that_there_are() -> None:
    for limit in limits("cpu_per_request"):
        assert set(limit.pair) <= set(PEERS), limit.name
        assert limit.gate is not None
        assert limit.goal <= limit.gate


def test_every_note_of_the_file_is_about_one_of_its_limits() -> None:
    notes = json.loads(verdict.THRESHOLDS.read_text())["notes"]
    names = {each.name for each in limits("cpu_per_request") + limits("scenarios")}
    assert set(notes) <= names
