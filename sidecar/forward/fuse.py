"""Between the pool of an upstream and its circuit breaker: who is the probe, and what counts."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sidecar.limit.address import client_address, key_of
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
        self._settings: Final = settings
        self._jitter: Final = jitter
        self._breaker: Final = Breaker(thresholds, jitter)
        self._statuses: Final = frozenset(settings.statuses)
        self._probe: Exchange | None = None
        # The client whose request was the last to end in a way that may have been its own doing.
        self._last_suspect: str | bytes | None = None

    def another(self) -> "Fuse":
        """A new one with the same settings, for something else that the same upstream does."""
        return Fuse(self._settings, self._jitter)

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
        """The upstream failed, whoever had asked: no connection, or no answer in time."""
        self._breaker.failed(now, is_probe=self._is_probe(exchange))

    def dropped(self, exchange: "Exchange", now: float) -> None:
        """The upstream closed without an answer, or gave a malformed one.

        It may do so to one kind of request, such as one with a head too long for it, and be well.
        One client after the other has to meet that: in a row, one alone counts but once, or it
        could turn all others away.
        """
        suspect = _client_of(exchange)
        if suspect != self._last_suspect:
            self._last_suspect = suspect
            self.failed(exchange, now)

    def left(self, exchange: "Exchange", now: float) -> None:
        """`exchange` is over; where nothing was heard of it, it says nothing about the upstream."""
        if self._is_probe(exchange):
            self._breaker.lost(now)

    def _is_probe(self, exchange: "Exchange") -> bool:
        if exchange is not self._probe:
            return False
        self._probe = None
        return True


def _client_of(exchange: "Exchange") -> str | bytes:
    """Whom a failure is counted for: the peer, or who stands before it where it is believed."""
    address = exchange.peer.address
    if exchange.peer.is_trusted:
        address = client_address(address, exchange.head.values(b"x-forwarded-for"), lambda _: False)
    return key_of(address)
