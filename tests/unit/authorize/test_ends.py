"""Ends of grants: found in order, also where they come by the thousand."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sidecar.authorize.ends import Ends

INSTANTS = st.floats(0.0, 5.0) | st.integers(0, 5).map(float) | st.just(math.inf)


@given(st.lists(INSTANTS), st.lists(INSTANTS))
def test_the_next_end_is_the_first_later_one(added: list[float], asked: list[float]) -> None:
    ends = Ends()
    for end in added:
        ends.add(end)
    for wall in sorted(asked):
        assert ends.after(wall) == min((end for end in added if end > wall), default=math.inf)
        assert ends.passed <= wall


def test_what_has_passed_is_forgotten() -> None:
    ends = Ends()
    for number in range(100):
        ends.add(number * 0.5)
    assert (ends.first, ends.passed) == (0.0, -math.inf)
    assert ends.after(10.25) == 10.5
    assert (ends.first, ends.passed) == (10.0, 10.25)
    assert ends.after(1_000.0) == math.inf
    assert (ends.first, ends.passed) == (math.inf, 1_000.0)
