import pytest

from perf.load.users import DEEDS
from perf.peers import nginx, sidecar
from perf.scenarios.latency import added, is_for_want_of_cpu
from perf.scenarios.pool import ideal_ms, utilised
from perf.verdict import limits

# 8 places, 20 ms each: 400 answers a second fill them.
TOTALS = {"answers": 4_000.0, "busy_seconds": 80.0, "most_open": 8.0}


@pytest.mark.parametrize(("requests", "share"), [(4_000.0, 1.0), (3_200.0, 0.8), (0.0, 0.0)])
def test_utilisation_is_the_share_of_places_that_wait_for_an_answer(
    requests: float, share: float
) -> None:
    told = {"requests": requests, "seconds": 10.0}
    assert utilised(told, TOTALS) == pytest.approx(share)


def test_in_the_ideal_queue_each_client_waits_its_turn() -> None:
    assert ideal_ms(TOTALS) == pytest.approx(64 / 8 * 20)


def test_added_is_the_median_of_what_each_round_adds() -> None:
    rounds = [
        {"direct": {"p50_ms": direct}, "via": {"p50_ms": via}}
        for direct, via in ((1.0, 1.2), (5.0, 5.3), (1.0, 9.0))
    ]
    assert added(rounds, "via", "p50_ms") == pytest.approx(0.3)


def test_users_do_everything_that_is_listed_and_nothing_else() -> None:
    assert sum(deed.share for deed in DEEDS) == 100
    assert {deed.expected for deed in DEEDS} == {200, 201, 401, 403, 404}
    assert {deed.who for deed in DEEDS if deed.expected in {401, 403}} == {"nobody", "outsider"}


def test_limits_are_for_measures_that_scenarios_make() -> None:
    made = {
        f"latency: {percentile} added by {name}"
        for percentile in ("p50_ms", "p99_ms")
        for name in (sidecar.NAME, nginx.NAME)
    }
    made |= {"pool: utilised", "pool: longest wait by the ideal"}
    made |= {"users: memory at the end by that at a quarter"}
    assert {limit.name for limit in limits("scenarios")} <= made


@pytest.mark.parametrize(
    ("text", "is_left_out"),
    [
        ("sidecar: load generator: no answer for 5 s", True),
        ("sidecar: load generator: told to come again: b'HTTP/1.1 503", True),
        ("sidecar: load generator: unexpected answer: b'HTTP/1.1 502", False),
    ],
)
def test_a_pace_that_is_not_kept_is_left_out_and_a_wrong_answer_is_not(
    text: str, *, is_left_out: bool
) -> None:
    assert is_for_want_of_cpu(text) is is_left_out
