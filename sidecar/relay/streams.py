"""Exchanges that last: event streams, long polls and downloads, uploads.

They are permitted for as long as they last. Most are over before anything could change; nothing is
done for them. One that is under way after a second is asked about from then on like a WebSocket
(`life`): before each part that goes on, in either direction, and at once where a change concerns
it. What is no longer permitted is refused where no part of the answer has left, and broken off
where one has, never ended cleanly (PROMISES 7 and 15).
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from sidecar.authorize.permit import Permit
from sidecar.clock import Sweeper, stopwatch
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason

if TYPE_CHECKING:
    from sidecar.relay.lives import Lives

_LOG: Final = logging.getLogger(__name__)
_LASTS_SECONDS: Final = 1.0
_TICK_SECONDS: Final = 0.25


class Guarded(Protocol):
    """An exchange under way (`forward.exchange.Exchange`)."""

    head: RequestHead
    peer: Peer
    request_id: bytes
    permit: Permit | None
    started: float
    is_over: bool

    @property
    def is_guarded(self) -> bool:
        """Whether somebody is asked before parts of it go on."""

    def guard_by(self, guard: "Stream", /) -> None:
        """Ask this one from now on."""

    def hold(self) -> None:
        """Take no more."""

    def release(self) -> None:
        """Take more again."""

    def relay(self, payload: bytes, *, ended: bool) -> None:
        """A part of it goes on."""

    def break_off(self, denial: Denial) -> None:
        """It is not permitted any more."""


class Stream:
    """One exchange that lasts (`life.Relayed`).

    Args:
        lives: knows it from now on.
        ended: reasons for which exchanges were ended.
        exchange: the exchange.
        permit: what allowed it.
    """

    __slots__ = ("_ended", "_exchange", "_is_held", "_kept", "_life", "_lives")

    def __init__(
        self, lives: "Lives", ended: Counter[str], exchange: Guarded, permit: Permit
    ) -> None:
        self._lives = lives
        self._ended = ended
        self._exchange = exchange
        self._is_held = False
        self._kept: list[tuple[bytes, bool]] = []
        self._life = lives.open(self, exchange.head, exchange.peer, exchange.request_id, permit)
        exchange.guard_by(self)

    # -- forward.exchange.Guard -------------------------------------------------------------

    def may_pass(self) -> bool:
        """Whether something may go on now."""
        return not self._is_held and (self._life.stands() or self._life.may_pass())

    def admits(self, payload: bytes, *, ended: bool) -> bool:
        """Whether this part of the response may go on now; where it may later, it is kept."""
        if self.may_pass():
            return True
        if not self._life.is_over:
            # Perhaps on another connection than that on which no more was to be taken.
            self._exchange.hold()
            self._kept.append((payload, ended))
        return False

    def left(self) -> None:
        """The exchange is over."""
        self._kept.clear()
        self._lives.close(self._life)

    # -- life.Relayed -----------------------------------------------------------------------

    def hold(self) -> None:
        """Let nothing pass until `resume`."""
        self._is_held = True
        self._exchange.hold()

    def resume(self) -> None:
        """It may go on, first with what was kept."""
        self._is_held = False
        kept, self._kept = self._kept, []
        for payload, ended in kept:
            self._exchange.relay(payload, ended=ended)
        if not self._is_held and not self._exchange.is_over:
            self._exchange.release()

    def renewed(self, permit: Permit) -> None:
        """It was decided about again."""

    def end(self, denial: Denial) -> None:
        """It may not go on."""
        self._kept.clear()
        self._ended[denial.reason] += 1
        self._exchange.break_off(denial)

    def leave(self) -> None:
        """We are ending: it may finish, as any response."""

    def cut(self) -> None:
        """The server breaks it off with its connection."""


class Streams:
    """Finds exchanges that last.

    Args:
        lives: knows them from then on.
        under_way: gives all exchanges that have a connection to an upstream.
        sweeper: calls `expire`.

    Attributes:
        ended: how many were refused or broken off, by reason.
        deadline: of the next look (`clock.Expiring`).
    """

    def __init__(
        self,
        lives: "Lives",
        under_way: Callable[[], Iterable[Guarded]],
        sweeper: Sweeper,
        now: Callable[[], float],
    ) -> None:
        self._lives = lives
        self._under_way = under_way
        self._now = now
        self.ended: Counter[str] = Counter()
        self.deadline = now() + _TICK_SECONDS
        sweeper.watch(self)

    def expire(self) -> None:
        """Sweeper: look."""
        self.deadline = self._now() + _TICK_SECONDS
        since = stopwatch() - _LASTS_SECONDS
        for exchange in list(self._under_way()):
            permit = exchange.permit
            if (
                exchange.started < since
                and not exchange.is_guarded
                and permit is not None
                and permit.principal is not None
            ):
                self._guard(exchange, permit)

    def _guard(self, exchange: Guarded, permit: Permit) -> None:
        try:
            Stream(self._lives, self.ended, exchange, permit)
        except Exception:  # noqa: BLE001 - who cannot be asked about may not go on; others are next
            _LOG.exception("request %s could not be asked about", exchange.request_id)
            exchange.break_off(Denial(Reason.INTERNAL_ERROR, "an error in the decision"))
