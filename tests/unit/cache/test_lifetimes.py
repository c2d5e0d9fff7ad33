"""Lifetimes: long where little changes, short where much does, and never beyond their bounds."""

import math
import random

import pytest

from sidecar.cache.lifetimes import OUTLIVING, Lifetime


def lifetime(start: float = 60.0, shortest: float = 1.0, longest: float = 10_000.0) -> Lifetime:
    return Lifetime(start, shortest=shortest, longest=longest)


def watched(kept: Lifetime, entries: int, hours: float, changes_an_hour: int) -> Lifetime:
    """Some hours, a look each ten seconds, the changes spread evenly."""
    looks = round(hours * 360)
    done = 0
    for look in range(looks + 1):
        due = round(look * 10 / 3600 * changes_an_hour)
        for _ in range(due - done):
            kept.changed()
        done = due
        kept.watch(entries, 1_000.0 + look * 10)
    return kept


def test_it_begins_at_the_start_and_one_look_says_nothing() -> None:
    kept = lifetime()
    kept.watch(1_000, 5e6)
    assert kept.seconds == 60.0


@pytest.mark.parametrize(("entries", "changes"), [(100, 10), (1_000, 100), (1_000, 1_000)])
def test_nine_of_ten_outlive_it(entries: int, changes: int) -> None:
    kept = watched(lifetime(), entries, 10, changes)
    surviving = math.exp(-kept.seconds * changes / 3600 / entries)
    assert surviving == pytest.approx(OUTLIVING, abs=0.02)


def test_the_share_that_outlives_it_is_as_stated_by_lot() -> None:
    """Entries that change by chance, each at its own instants; counted, not computed."""
    draw = random.Random(8)
    entries, mean_seconds = 200, 1_000.0
    changes = sorted(
        (at, each)
        for each in range(entries)
        for at in _instants(draw, mean_seconds, until=40_000.0)
    )
    kept = lifetime()
    before = 0
    for look in range(4_000):
        while before < len(changes) and changes[before][0] < look * 10:
            kept.changed()
            before += 1
        kept.watch(entries, float(look * 10))
    begun = 20_000.0
    changed = {each for at, each in changes if begun <= at < begun + kept.seconds}
    assert 1 - len(changed) / entries == pytest.approx(OUTLIVING, abs=0.06)


def _instants(draw: random.Random, mean_seconds: float, until: float) -> list[float]:
    instants, at = [], draw.expovariate(1 / mean_seconds)
    while at < until:
        instants.append(at)
        at += draw.expovariate(1 / mean_seconds)
    return instants


def test_it_stays_within_its_bounds() -> None:
    assert watched(lifetime(shortest=15.0), 10, 1, 10_000).seconds == 15.0
    assert watched(lifetime(longest=300.0), 1_000, 1, 0).seconds == 300.0
    for changes in (0, 10_000):
        assert watched(lifetime(shortest=60.0, longest=60.0), 10, 1, changes).seconds == 60.0


def test_a_start_outside_the_bounds_widens_them() -> None:
    assert watched(lifetime(5.0, shortest=15.0, longest=300.0), 10, 1, 10_000).seconds == 5.0
    assert watched(lifetime(900.0, shortest=15.0, longest=300.0), 1_000, 1, 0).seconds == 900.0


def test_what_could_not_be_seen_to_change_counts_for_nothing() -> None:
    assert watched(lifetime(), 0, 1, 0).seconds == pytest.approx(60.0)


def test_reads_within_a_second_count_once() -> None:
    kept = lifetime()
    for thousandth in range(900):
        kept.watch(1_000_000, thousandth / 1000)
    assert kept.seconds == 60.0


def test_a_burst_counts_against_all_that_stood_still() -> None:
    kept = watched(lifetime(longest=300.0), 50_000, 2, 0)
    for _ in range(1_000):
        kept.changed()
    kept.watch(50_000, 1e5)
    assert kept.seconds == 300.0


def test_it_shrinks_sooner_than_it_grows_and_forgets_within_hours() -> None:
    kept = watched(lifetime(), 1_000, 2, 10)
    calm = kept.seconds
    for step in range(360):
        for _ in range(100):
            kept.changed()
        kept.watch(1_000, 8_300.0 + 10 * step)
    busy = kept.seconds
    assert busy < calm / 50
    for step in range(6 * 360):
        kept.watch(1_000, 11_900.0 + 10 * step)
    assert kept.seconds > calm / 2


def test_without_evidence_it_returns_to_the_start() -> None:
    kept = watched(lifetime(), 1_000, 2, 1_000)
    assert kept.seconds < 400.0
    for step in range(10_000):
        kept.watch(0, 8_300.0 + 10 * step)
    assert kept.seconds == pytest.approx(60.0, rel=0.01)


def test_a_clock_that_stands_still_or_a_long_pause_breaks_nothing() -> None:
    kept = lifetime()
    for now in (10.0, 10.0, 5.0, 1e9):
        kept.watch(10, now)
        assert 1.0 <= kept.seconds <= 10_000.0
