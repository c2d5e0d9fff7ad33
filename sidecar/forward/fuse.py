"""Between the pool of an upstream and its circuit breaker: who is the probe, and what counts."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sidecar.limit.breaker import Breaker, State, Thresholds
from sidecar.settings.schema import Breaker as Settings

if TYPE_CHECKING:
    from sidecar.forward.exchange import Exchange


class Fuse:
    """Keeps requests from an upstream that fails.

    Args:
        settings: when it blows, and for how long.
        jitter: gives numbers from 0 to 1.
    """

    def __init__(self, settings: Settings, jitter: Callable[[], float]) -> None:
        thresholds = Thresholds(
            failures=settings.failures,
            share=settings.share,
            least=settings.least_requests,
            window_seconds=settings.window_seconds,
            open_seconds=settings.open_seconds,
            longest_open_seconds=settings.longest_open_seconds,
        )
        self._breaker: Final = Breaker(thresholds, jitter)
        self._statuses: Final = frozenset(settings.statuses)
        self._probe: Exchange | None = None

    @property
    def opened(self) -> int:
        """How often it has blown."""
        return self._breaker.opened

    def state(self, now: float) -> State:
        """Of the breaker."""
        return self._breaker.state(now)

    def admits(self, exchange: "Exchange", now: float) -> bool:
        """Whether `exchange` may be sent at the loop's instant `now`.

        A complete request takes the place of a probe that still waits for its client's body: who
        uploads slowly, or never ends, does not keep everybody else out. Where nobody sends
        anything but uploads, one of them is the probe.
        """
        if self._breaker.state(now) is State.CLOSED:
            return True
        probe = self._probe
        if probe is not None and not probe.is_request_sent and exchange.is_request_sent:
            self._breaker.lost(now)
        if not self._breaker.admits(now):
            return False
        self._probe = exchange
        return True

    def retry_after(self, now: float) -> int:
        """Whole seconds from `now` until another request may be sent, at least 1."""
        return max(1, math.ceil(self._breaker.wait(now)))

    def answered(self, exchange: "Exchange", status: int, now: float) -> None:
        """The upstream has begun to answer with `status`."""
        if status in self._statuses:
            self.failed(exchange, now)
        else:
            self._breaker.succeeded(now, is_probe=self._is_probe(exchange))

    def failed(self, exchange: "Exchange", now: float) -> None:
        """The upstream did not answer."""
        self._breaker.failed(now, is_probe=self._is_probe(exchange))

    def left(self, exchange: "Exchange", now: float) -> None:
        """`exchange` is over; where nothing was heard of it, it says nothing about the upstream."""
        if self._is_probe(exchange):
            self._breaker.lost(now)

    def _is_probe(self, exchange: "Exchange") -> bool:
        if exchange is not self._probe:
            return False
        self._probe = None
        return True
