"""The circuit breaker as a value machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.limit.breaker import Breaker, State, Thresholds

THRESHOLDS = Thresholds(
    failures=3, share=0.5, least=10, window_seconds=10.0, open_seconds=1.0, longest_open_seconds=4.0
)
START = 1_000.0


def breaker(jitter: float = 0.5) -> Breaker:
    """With a jitter of 0.5 delays are exact."""
    return Breaker(THRESHOLDS, lambda: jitter)


def opened(jitter: float = 0.5) -> Breaker:
    machine = breaker(jitter)
    for _ in range(3):
        machine.failed(START)
    return machine


def test_failures_in_a_row_open_it() -> None:
    machine = breaker()
    machine.failed(START)
    machine.failed(START)
    machine.succeeded(START)
    machine.failed(START)
    machine.failed(START)
    assert machine.state(START) is State.CLOSED
    assert machine.admits(START)
    assert machine.wait(START) == 0.0
    machine.failed(START)
    assert machine.state(START) is State.OPEN
    assert not machine.admits(START)
    assert machine.wait(START + 0.25) == pytest.approx(0.75)
    assert machine.opened == 1


def test_a_share_of_failures_opens_it_where_there_are_enough_requests() -> None:
    machine = breaker()
    for at in range(4):
        machine.failed(START + at / 10)
        machine.succeeded(START + at / 10)
    assert machine.state(START + 1) is State.CLOSED, "eight requests say nothing yet"
    machine.succeeded(START + 1)
    machine.failed(START + 1)
    assert machine.state(START + 1) is State.OPEN


def test_a_small_share_does_not() -> None:
    machine = breaker()
    for at in range(100):
        machine.succeeded(START + at / 100)
        machine.succeeded(START + at / 100)
        machine.failed(START + at / 100)
    assert machine.state(START + 1) is State.CLOSED


@pytest.mark.parametrize("pause", [10.0, 1000.0])
def test_what_is_long_ago_does_not_count(pause: float) -> None:
    machine = breaker()
    for _ in range(4):
        machine.failed(START)
        machine.succeeded(START)
    later = START + pause
    machine.succeeded(later)
    machine.failed(later)
    assert machine.state(later) is State.CLOSED


def test_the_window_reaches_back_over_the_half_before() -> None:
    machine = breaker()
    for _ in range(4):
        machine.failed(START)
        machine.succeeded(START)
    machine.succeeded(START + 6)
    machine.failed(START + 6)
    assert machine.state(START + 6) is State.OPEN


def test_one_probe_passes_and_closes_it() -> None:
    machine = opened()
    assert machine.state(START + 0.99) is State.OPEN
    assert machine.state(START + 1.0) is State.HALF_OPEN
    assert machine.admits(START + 1.0)
    assert not machine.admits(START + 1.0), "one at a time"
    assert machine.state(START + 1.5) is State.HALF_OPEN
    machine.succeeded(START + 1.5, is_probe=True)
    assert machine.state(START + 1.5) is State.CLOSED
    machine.failed(START + 1.5)
    machine.failed(START + 1.5)
    assert machine.state(START + 1.5) is State.CLOSED, "counting begins anew"


def test_a_probe_that_fails_doubles_the_delay_up_to_a_bound() -> None:
    machine, now = opened(), START
    delays = []
    for _ in range(4):
        wait = machine.wait(now)
        delays.append(round(wait, 3))
        now += wait
        assert machine.admits(now)
        machine.failed(now, is_probe=True)
    assert delays == [1.0, 2.0, 4.0, 4.0]
    assert machine.opened == 5


def test_after_it_closed_the_delay_begins_small_again() -> None:
    machine = opened()
    assert machine.admits(START + 1)
    machine.failed(START + 1, is_probe=True)
    assert machine.admits(START + 3)
    machine.succeeded(START + 3, is_probe=True)
    for _ in range(3):
        machine.failed(START + 4)
    assert machine.wait(START + 4) == pytest.approx(1.0)


def test_what_began_before_it_opened_says_nothing() -> None:
    machine = opened()
    machine.succeeded(START + 0.5)
    machine.failed(START + 0.5)
    assert machine.wait(START + 0.5) == pytest.approx(0.5)
    assert machine.admits(START + 1)
    machine.succeeded(START + 1.1)
    machine.failed(START + 1.1)
    assert machine.state(START + 1.1) is State.HALF_OPEN


def test_a_probe_of_which_nothing_is_heard_is_followed_by_another() -> None:
    machine = opened()
    assert machine.admits(START + 1)
    assert not machine.admits(START + 1.9)
    assert machine.admits(START + 2)


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 0.75), (1.0, 1.25)])
def test_jitter_parts_the_sidecars_of_a_fleet(jitter: float, delay: float) -> None:
    assert opened(jitter).wait(START) == pytest.approx(delay)


@given(st.lists(st.tuples(st.sampled_from(["ask", "succeed", "fail"]), st.floats(0.0, 3.0))))
def test_whatever_happens_it_lets_something_through_in_the_end(
    events: list[tuple[str, float]],
) -> None:
    machine = breaker()
    now = START
    probing = False
    for what, after in events:
        now += after
        if what == "ask":
            probing = machine.admits(now) and machine.state(now) is not State.CLOSED
        elif what == "succeed":
            machine.succeeded(now, is_probe=probing)
        else:
            machine.failed(now, is_probe=probing)
    assert machine.wait(now) <= THRESHOLDS.longest_open_seconds * 1.25
    assert machine.admits(now + machine.wait(now) + 0.001)
