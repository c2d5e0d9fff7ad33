"""Which traces are recorded, and a bound on what anybody can make that cost.

Pure. The rule is OpenTelemetry's TraceIdRatioBased: the low 64 bits of the trace id lie below the
ratio's share of 2^64. All who ask that of the same id and ratio agree without asking each other,
and what a lower ratio keeps, a higher one keeps as well.

A span costs about 100 us of CPU, more than the request it is of. Trace ids, flags and refusals are
what callers make of them, so all spans together have a budget by the second. Occasions that a
stranger can bring about leave a share of it to the others: a flood of refusals hides neither our
own sample nor the faults.
"""

from enum import Enum
from typing import Final

_SPACE: Final = 1 << 64
# Unspent budget lasts so long: faults come in bursts.
_BURST_SECONDS: Final = 1.0
# One request with all its spans always fits.
_LEAST_SIZE: Final = 8.0


class Occasion(Enum):
    """Why spans are kept."""

    RATIO = "the ratio picked an id that we drew, or a trusted proxy's"
    FAULT = "5xx, whoever is to blame"
    ASKED = "a trusted proxy's flag"
    CHOSEN = "the ratio picked an id that anybody may have chosen so that it would"
    REFUSAL = "somebody was not let in"


# Of the budget: what each leaves to the others.
_LEFT: Final = {
    Occasion.RATIO: 0.0,
    Occasion.FAULT: 0.25,
    Occasion.ASKED: 0.25,
    Occasion.CHOSEN: 0.5,
    Occasion.REFUSAL: 0.5,
}


class Budget:
    """Spans by the second: a bucket that fills evenly.

    Args:
        spans_per_second: at most, over any time much longer than a second.

    Attributes:
        refused: spans that exceeded it.
    """

    def __init__(self, spans_per_second: int) -> None:
        self._rate: Final = float(spans_per_second)
        self._size: Final = max(self._rate * _BURST_SECONDS, _LEAST_SIZE)
        self._left = self._size
        self._at: float | None = None
        self.refused = 0

    def take(self, spans: int, occasion: Occasion, now: float) -> bool:
        """Whether `spans` may be kept for `occasion`; then they are paid for.

        Args:
            spans: how many.
            occasion: why.
            now: reading of a clock that goes forward, in seconds.
        """
        if self._at is not None and now > self._at:
            self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left - spans < self._size * _LEFT[occasion]:
            self.refused += spans
            return False
        self._left -= spans
        return True


def bound_of(ratio: float) -> int:
    """Trace ids whose low 64 bits are below this are recorded: the `ratio` of all of them."""
    return round(ratio * _SPACE)
