"""A circuit breaker: an upstream that keeps failing is left alone for a while.

closed: requests pass. Enough failures in a row, or a large share of failures among enough requests
of late, open it. open: nothing passes until a time is over. half-open: one request passes, a probe;
its answer closes the breaker, its failure opens it again for twice as long, with jitter, so that
the sidecars of a fleet do not probe at the same moment. A probe of which nothing is heard is
followed by another after the same time; one that ended without an outcome (its client left), at
once.

What began before it opened says nothing about now: outcomes count while it is closed, and then that
of the probe alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

# The window slides in steps of half its length: two counts instead of a list of instants.
_HALVES: Final = 2


class State(IntEnum):
    """As the metric shows it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a breaker opens, and for how long.

    Attributes:
        failures: in a row, after which it opens.
        share: of failures in the window, from which it opens; over 1 for never.
        least: requests in the window below which the share says nothing.
        window_seconds: how far back the share looks, at most; at least half of it.
        open_seconds: how long it stays open at first.
        longest_open_seconds: and at most.
    """

    failures: int
    share: float
    least: int
    window_seconds: float
    open_seconds: float
    longest_open_seconds: float


class Breaker:
    """The state machine of one upstream. All instants are of one monotonic clock.

    Args:
        thresholds: when it opens, and for how long.
        jitter: gives numbers from 0 to 1.

    Attributes:
        opened: how often it has opened.
    """

    __slots__ = (
        "_before",
        "_delay",
        "_half_began",
        "_in_a_row",
        "_jitter",
        "_now",
        "_retry_at",
        "_state",
        "_thresholds",
        "opened",
    )

    def __init__(self, thresholds: Thresholds, jitter: Callable[[], float]) -> None:
        self._thresholds = thresholds
        self._jitter = jitter
        self._state = State.CLOSED
        self._in_a_row = 0
        # [requests, failures] of the present half of the window, and of the one before.
        self._now = [0, 0]
        self._before = [0, 0]
        self._half_began = 0.0
        self._delay = thresholds.open_seconds
        self._retry_at = 0.0
        self.opened = 0

    def state(self, now: float) -> State:
        """The state at `now`. An open breaker whose time is over is half-open."""
        if self._state is State.OPEN and now >= self._retry_at:
            return State.HALF_OPEN
        return self._state

    def admits(self, now: float) -> bool:
        """Whether a request may pass at `now`. While not closed, one that may is the probe."""
        if self._state is State.CLOSED:
            return True
        if now < self._retry_at:
            return False
        self._state = State.HALF_OPEN
        self._retry_at = now + self._jittered()
        return True

    def lost(self, now: float) -> None:
        """The probe ended at `now` without an outcome, or waits for its client: try another."""
        if self._state is State.HALF_OPEN:
            self._retry_at = now

    def wait(self, now: float) -> float:
        """Seconds from `now` until a request may pass again."""
        return 0.0 if self._state is State.CLOSED else max(0.0, self._retry_at - now)

    def succeeded(self, now: float, *, is_probe: bool = False) -> None:
        """A request was answered at `now`; `is_probe` where `admits` let it pass as such."""
        if self._state is State.CLOSED:
            self._in_a_row = 0
            self._slide(now)
            self._now[0] += 1
        elif is_probe:
            self._close()

    def failed(self, now: float, *, is_probe: bool = False) -> None:
        """A request failed at `now`."""
        if self._state is State.CLOSED:
            self._in_a_row += 1
            self._slide(now)
            self._now[0] += 1
            self._now[1] += 1
            if self._is_enough():
                self._delay = self._thresholds.open_seconds
                self._open(now)
        elif is_probe:
            self._delay = min(self._delay * 2, self._thresholds.longest_open_seconds)
            self._open(now)

    def _is_enough(self) -> bool:
        thresholds = self._thresholds
        requests = self._now[0] + self._before[0]
        failures = self._now[1] + self._before[1]
        return self._in_a_row >= thresholds.failures or (
            requests >= thresholds.least and failures >= thresholds.share * requests
        )

    def _slide(self, now: float) -> None:
        half = self._thresholds.window_seconds / _HALVES
        if now - self._half_began < half:
            return
        # After a pause of a whole half, what was before is too old as well.
        self._before = self._now if now - self._half_began < _HALVES * half else [0, 0]
        self._now = [0, 0]
        self._half_began = now

    def _open(self, now: float) -> None:
        self._state = State.OPEN
        self._retry_at = now + self._jittered()
        self.opened += 1

    def _close(self) -> None:
        self._state = State.CLOSED
        self._in_a_row = 0
        self._now = [0, 0]
        self._before = [0, 0]

    def _jittered(self) -> float:
        """The present delay, up to a quarter longer or shorter."""
        return self._delay * (0.75 + 0.5 * self._jitter())
