"""How long entries of one kind are kept until they are read anew: as rarely as they change.

No promise rests on it. That what was revoked is not used is the business of invalidations and the
lease; a lifetime only bounds how long a fault in these could go unseen, and what that bound costs
in reads. So it may be long where nearly nothing changes, and is best short where much does: those
are the entries for which a lost message would matter, and most of them are read anew for their
changes anyway.

The rule: of all entries kept for one lifetime, nine of ten shall live to its end unchanged. The
rate of changes of one entry is estimated as changes seen per entry-second watched; for changes at a
constant rate r, a share of exp(-r T) outlives T, hence T = -ln(0.9) / r. Watching costs no word in
an entry: the entry-seconds of a kind are its number of entries, summed over time. So a burst (an
import touches a thousand users) counts against all that stood still meanwhile, reads that repeat
each other within moments count for nothing, and the order of events does not matter.

Both sums fade within about an hour, and two changes are taken for granted at the start value, so
that little evidence moves the lifetime little and none brings it back.
"""

import math
from typing import Final

# Of the entries kept for one lifetime, this share shall not have changed before its end.
OUTLIVING: Final = 0.9
_MEAN_LIFETIMES: Final = -math.log(OUTLIVING)
# What was seen an hour ago counts for a third.
_HORIZON_SECONDS: Final = 3600.0
_LOOK_SECONDS: Final = 1.0
# The weight of the start value, in changes.
_ASSUMED_CHANGES: Final = 2.0


class Lifetime:
    """The lifetime of entries of one kind.

    Args:
        start: seconds, without evidence.
        shortest: never less, seconds.
        longest: never more, seconds; with `shortest` equal to it the lifetime is fixed.

    Attributes:
        seconds: the lifetime now.
    """

    __slots__ = (
        "_assumed",
        "_changes",
        "_longest",
        "_seen",
        "_shortest",
        "_start",
        "_watched",
        "seconds",
    )

    def __init__(self, start: float, *, shortest: float, longest: float) -> None:
        self.seconds = start
        self._shortest = min(shortest, start)
        self._longest = max(longest, start)
        self._start = start
        # The entry-seconds in which the assumed changes would happen.
        self._assumed = _ASSUMED_CHANGES * start / _MEAN_LIFETIMES
        self._watched = 0.0
        self._changes = 0.0
        self._seen: float | None = None

    def watch(self, entries: int, now: float) -> None:
        """Count that `entries` would have been seen to change since the last look, and adapt.

        Looks once a second at most: mostly it costs a comparison (0.1 µs).

        Args:
            entries: how many are kept; 0 where changes could not have been seen (no lease).
            now: monotonic instant.
        """
        seen = self._seen
        if seen is None:
            self._seen = now
            return
        since = now - seen
        if since < _LOOK_SECONDS:
            return
        self._seen = now
        # As exp(-since / horizon) for what is small, and never negative.
        kept = _HORIZON_SECONDS / (_HORIZON_SECONDS + since)
        self._watched = (self._watched + entries * since) * kept
        self._changes *= kept
        # Mean time between changes of an entry times -ln(0.9), written as a multiple of the start.
        stretch = (1 + self._watched / self._assumed) / (1 + self._changes / _ASSUMED_CHANGES)
        self.seconds = min(max(self._start * stretch, self._shortest), self._longest)

    def changed(self) -> None:
        """Count that an entry that was kept has changed."""
        self._changes += 1.0
