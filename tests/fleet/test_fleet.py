"""A small fleet in virtual time keeps promise 14 while messages are lost and Redis goes away."""

from typing import Final

import pytest

from perf.fleet.__main__ import HEAD, row
from perf.fleet.simulation import AWAY_SECONDS, Fleet, Outcome, simulate
from sidecar.cache.following import Beat, Following, Verdict
from sidecar.settings.schema import Cache

SIDECARS: Final = 50
LEASE: Final = Cache().lease_seconds


class Trusting(Following):
    """A heartbeat renews whatever the head is."""

    __slots__ = ()

    def beat(self, sent: float, answer: Beat | None, now: float) -> Verdict:
        verdict = super().beat(sent, answer, now)
        if verdict is not Verdict.BEHIND:
            return verdict
        self._behind_since = None
        self.lease_until = sent + self._lease
        return Verdict.RENEWED


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return simulate(Fleet(SIDECARS, changes=20.0))


def test_no_memory_is_used_beyond_a_lease_after_a_change(outcome: Outcome) -> None:
    assert outcome.wrong == []
    # It was no idle run: messages were lost, and made up for within a lease.
    assert outcome.replays["log"] > 0
    assert 0 < max(outcome.lags) < LEASE


def test_everybody_recovers(outcome: Outcome) -> None:
    """Promise 18: within five seconds, from both faults."""
    assert len(outcome.after_outage) == SIDECARS
    assert max(outcome.after_outage) < AWAY_SECONDS
    assert len(outcome.after_partition) == SIDECARS // 10
    assert max(outcome.after_partition) < AWAY_SECONDS
    assert outcome.replays["outbox"] > 0


def test_reconnections_are_spread(outcome: Outcome) -> None:
    """Without chance the fleet would come in step."""
    in_step = simulate(Fleet(SIDECARS), jitter=lambda: 0.5)
    assert max(outcome.reconnections) < SIDECARS / 2
    assert max(in_step.reconnections) > SIDECARS / 2


def test_a_fleet_that_trusts_heartbeats_is_found() -> None:
    """Proof that the first test could fail."""
    assert simulate(Fleet(SIDECARS, changes=20.0), following=Trusting).wrong


def test_one_line_tells_it_all(outcome: Outcome) -> None:
    assert len(row(outcome)) == len(HEAD)
