"""Which trace a request belongs to, and what the upstream is told of it.

Hot path: every request that is forwarded comes here once, for 0.5 us. All that is kept of a request
until its end is the traceparent that its upstream got: it holds the trace id, the id of our client
span, and whether we record. The ids of our other spans follow from that one.
"""

import random
import secrets
from typing import Final, Literal

from sidecar.clock import stopwatch
from sidecar.model.head import RequestHead
from sidecar.telemetry.context import RANDOM, SAMPLED, continues, is_random, is_sampled, received
from sidecar.telemetry.sampling import Budget, Occasion, bound_of

Mode = Literal["keep", "new", "off"]


class Propagation:
    """Begins and continues traces.

    Args:
        mode: ``keep`` continues the caller's trace, ``new`` always begins one, ``off`` tells the
            upstream nothing.
        ratio: share of traces that are recorded, by their ids.
        budget: bounds all spans; None where nothing is recorded. Then a trace that is continued
            passes through as the caller wrote it.

    Attributes:
        is_recording: whether anything is recorded.
    """

    def __init__(self, mode: Mode, ratio: float = 0.0, budget: Budget | None = None) -> None:
        self.is_recording: Final = budget is not None
        self._is_silent = mode == "off" and budget is None
        self._keeps = mode == "keep"
        self._bound = 0 if budget is None else bound_of(ratio)
        self._budget = budget
        # Ids are names, not secrets, and one of the system's random numbers costs ten of these.
        self._draw = random.Random(secrets.randbits(256)).getrandbits  # noqa: S311 - see above
        self._prefix = f"00-{secrets.token_hex(8)}"

    def begin(self, head: RequestHead, *, is_trusted: bool, spans: int) -> bytes:
        """The traceparent for the upstream of a request; ``b""`` for none.

        Args:
            head: the request's.
            is_trusted: whether it comes from a proxy whose flag counts.
            spans: how many it will have, if it is recorded.
        """
        if self._keeps and b"traceparent" in head.names.places:
            given = received(head)
            if given is not None:
                return self._continue(given, is_trusted=is_trusted, spans=spans)
        elif self._is_silent:
            return b""
        low = self._draw(64) or 1
        # Our span is the first of the trace and may be called as its end is; writing one number, by
        # way of bytes, takes a third of the time of formatting two.
        name = low.to_bytes(8, "big").hex()
        if low < self._bound and self._may_keep(spans, Occasion.RATIO):
            return f"{self._prefix}{name}-{name}-03".encode()
        return f"{self._prefix}{name}-{name}-02".encode()

    def known(self, head: RequestHead) -> bytes:
        """The traceparent by which the caller knows a request that goes nowhere."""
        return (received(head) or b"") if self._keeps else b""

    def parent(self, head: RequestHead, traceparent: bytes) -> int:
        """Id of the span of the caller that `traceparent` continues; 0 where it begins a trace."""
        given = received(head) if self._keeps else None
        if given is None or not continues(traceparent, head):
            return 0
        return int(given[36:52], 16)

    def occasion(self, head: RequestHead, traceparent: bytes, *, is_trusted: bool) -> Occasion:
        """Why a trace is recorded that the ratio or a trusted flag picked, as at its beginning.

        Args:
            head: of the request that began or continued it.
            traceparent: that its upstream got.
            is_trusted: as of `begin`.
        """
        if not self._keeps or not continues(traceparent, head):
            return Occasion.RATIO
        return self._occasion(traceparent, is_trusted=is_trusted)

    def _occasion(self, given: bytes, *, is_trusted: bool) -> Occasion:
        """The same of a trace whose id is the caller's."""
        if not is_trusted:
            return Occasion.CHOSEN
        return Occasion.RATIO if self._picks(given) else Occasion.ASKED

    def _picks(self, given: bytes) -> bool:
        return int(given[19:35], 16) < self._bound

    def _continue(self, given: bytes, *, is_trusted: bool, spans: int) -> bytes:
        if self._budget is None:
            return given
        flags = RANDOM if is_random(given) else 0
        if self._is_recorded(given, is_trusted=is_trusted, spans=spans):
            flags |= SAMPLED
        return b"00-%b-%016x-0%d" % (given[3:35], self._draw(64) or 1, flags)

    def _is_recorded(self, given: bytes, *, is_trusted: bool, spans: int) -> bool:
        # Where a trusted caller does not record it, ours would be a piece without a whole.
        if not (is_sampled(given) if is_trusted else self._picks(given)):
            return False
        return self._may_keep(spans, self._occasion(given, is_trusted=is_trusted))

    def _may_keep(self, spans: int, occasion: Occasion) -> bool:
        return self._budget is not None and self._budget.take(spans, occasion, stopwatch())
