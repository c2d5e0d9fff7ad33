"""Token buckets: what they let through, and that no flood changes it for anybody."""

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.limit.buckets import Buckets

START = 1_000.0


def test_a_burst_passes_then_one_in_each_interval() -> None:
    buckets = Buckets(interval_seconds=0.5, burst=3, capacity=10)
    assert [buckets.take("a", START) for _ in range(3)] == [0.0] * 3
    assert buckets.take("a", START) == pytest.approx(0.5, abs=1e-5)
    assert buckets.take("a", START + 0.4) == pytest.approx(0.1, abs=1e-5)
    assert buckets.take("a", START + 0.5) == 0.0
    assert buckets.take("a", START + 0.5) > 0.0
    assert buckets.take("b", START) == 0.0, "another's bucket is its own"


def test_asking_in_vain_costs_nothing() -> None:
    buckets = Buckets(interval_seconds=1.0, burst=1, capacity=10)
    assert buckets.take("a", START) == 0.0
    assert all(buckets.take("a", START + 0.5) > 0.0 for _ in range(1000))
    assert buckets.take("a", START + 1.0) == 0.0


def test_what_is_given_back_was_never_taken() -> None:
    buckets = Buckets(interval_seconds=1.0, burst=2, capacity=1)
    for key in ("own", "shared"):
        buckets.take("own", START)
        before = buckets.tokens(key, START)
        assert buckets.take(key, START) == 0.0
        buckets.give_back(key)
        assert buckets.tokens(key, START) == pytest.approx(before)


def test_tokens_tell_what_is_left() -> None:
    buckets = Buckets(interval_seconds=2.0, burst=4, capacity=10)
    assert buckets.tokens("a", START) == 4.0
    for _ in range(4):
        buckets.take("a", START)
    assert buckets.tokens("a", START) == pytest.approx(0.0)
    assert buckets.tokens("a", START + 3.0) == pytest.approx(1.5)
    assert buckets.tokens("a", START + 100.0) == 4.0


def test_a_flood_of_keys_neither_grows_the_table_nor_resets_a_bucket() -> None:
    buckets = Buckets(interval_seconds=10.0, burst=2, capacity=100)
    while buckets.take("heavy", START) == 0.0:
        pass
    for number in range(100_000):
        buckets.take(f"flood-{number}", START)
    assert len(buckets) == len(buckets._keys) == 100
    assert buckets.take("heavy", START) > 0.0, "it has used up what it had"
    # Two for each of the 99 other places, and two for each of the shared buckets.
    passed = sum(buckets.take(f"late-{number}", START) == 0.0 for number in range(10_000))
    assert passed == 0, "newcomers share what is used up"


def test_a_flood_gets_no_more_than_its_places_allow() -> None:
    buckets = Buckets(interval_seconds=10.0, burst=2, capacity=100)
    passed = sum(buckets.take(f"flood-{number}", START) == 0.0 for number in range(100_000))
    assert 100 <= passed <= 100 * 2 + 256 * 2


def test_after_a_flood_newcomers_have_places_again() -> None:
    buckets = Buckets(interval_seconds=1.0, burst=2, capacity=100)
    for number in range(10_000):
        buckets.take(f"flood-{number}", START)
    # Two seconds later all have a full bucket, and a full bucket can be forgotten.
    assert [buckets.take(f"new-{number}", START + 2.1) for number in range(100)] == [0.0] * 100
    assert len(buckets) == 100


def test_a_newcomer_without_a_place_is_told_what_the_shared_bucket_has() -> None:
    buckets = Buckets(interval_seconds=10.0, burst=2, capacity=1)
    buckets.take("resident", START)
    assert buckets.tokens("new", START) == 2.0
    assert buckets.take("new", START) == 0.0
    assert buckets.tokens("new", START) == pytest.approx(1.0)
    assert [buckets.take("new", START), buckets.take("new", START) > 0.0] == [0.0, True]


def test_memory_of_a_bucket_is_small() -> None:
    buckets = Buckets(interval_seconds=1.0, burst=1, capacity=1000)
    for number in range(1000):
        buckets.take(f"192.0.2.{number}", START)
    sizes = sys.getsizeof(buckets._full_at) + sys.getsizeof(buckets._keys)
    assert sizes / 1000 < 120, "beside the key and one float"


@given(
    interval=st.floats(0.01, 10.0),
    burst=st.integers(1, 20),
    waits=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200),
)
def test_no_window_lets_through_more_than_burst_and_rate(
    interval: float, burst: int, waits: list[float]
) -> None:
    buckets = Buckets(interval, burst, 10)
    now = START
    passed: list[float] = []
    for wait in waits:
        now += wait
        if buckets.take("a", now) == 0.0:
            passed.append(now)
    for begin, first in enumerate(passed):
        for end in range(begin, len(passed)):
            allowed = burst + (passed[end] - first) / interval
            assert end - begin + 1 <= allowed + 1e-3


@given(seed=st.integers(0, 2**32), capacity=st.integers(1, 8))
def test_forgetting_is_never_noticed_by_who_has_a_place(seed: int, capacity: int) -> None:
    """A small table answers as an endless one does, for every key that it still has."""
    chance = random.Random(seed)
    small, endless = Buckets(1.0, 3, capacity), Buckets(1.0, 3, 10_000)
    now = START
    strangers: set[str] = set()
    for _ in range(300):
        now += chance.random() * 0.2
        key = f"k{chance.randrange(12)}"
        took = small.take(key, now)
        if key not in small._full_at:
            # From here on it is counted elsewhere, too.
            strangers.add(key)
        reference = endless.take(key, now)
        if key not in strangers:
            assert took == pytest.approx(reference, abs=1e-6)
        if took == 0.0 and reference > 0.0:
            strangers.add(key)
