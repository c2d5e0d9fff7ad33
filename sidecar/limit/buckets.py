"""Token buckets in a table of bounded size.

A bucket is one number: the instant at which it is full again, if nothing is taken from it. (That
is the generic cell rate algorithm of ITU-T I.371, which needs no timer and no second number.) An
instant in the past is a full bucket, and a full bucket is as good as none: forgetting it loses
nothing. So what makes room in the table is only ever full. A flood of keys neither resets the
bucket of anybody nor grows the table: where there is no room, newcomers share a few buckets of the
same size, chosen by their hash, until there is.
"""

from collections.abc import Hashable
from typing import Final

# For newcomers that find no room; more would be memory for floods only.
_SHARED: Final = 256
# Buckets looked at for each newcomer: the hand has to go round faster than they come.
_LOOKS: Final = 2
# Sums of many intervals are off by less; nobody is refused for a rounding.
_ROUNDING_SECONDS: Final = 1e-6


class Buckets:
    """The buckets of one limit, by key. Hot path: 0.15 µs where a key is known, under 1 µs else.

    Args:
        interval_seconds: time in which one token comes back.
        burst: tokens that a bucket holds, at least 1.
        capacity: buckets kept, at least 1; about 0.2 KB each.
    """

    __slots__ = (
        "_capacity",
        "_full_at",
        "_hand",
        "_interval",
        "_keys",
        "_shared",
        "_slack",
        "burst",
    )

    def __init__(self, interval_seconds: float, burst: int, capacity: int) -> None:
        self.burst: Final = burst
        self._interval = interval_seconds
        self._slack = (burst - 1) * interval_seconds + _ROUNDING_SECONDS
        self._capacity = capacity
        self._full_at: dict[Hashable, float] = {}
        # The keys of the table in the order of their places; the hand goes round like a clock's.
        self._keys: list[Hashable] = []
        self._hand = 0
        self._shared = [0.0] * _SHARED

    def __len__(self) -> int:
        """Buckets in the table, those that are full included."""
        return len(self._full_at)

    def take(self, key: Hashable, now: float) -> float:
        """Take one token at the monotonic instant `now`.

        Returns:
            0.0 when it was taken; otherwise the seconds until there will be one, and nothing was
            taken: whoever goes on asking is served at the rate of the limit, not later.
        """
        full_at = self._full_at.get(key)
        if full_at is None:
            if not self._place(key, now):
                return self._take_shared(hash(key) % _SHARED, now)
            full_at = now
        elif full_at < now:
            full_at = now
        wait = full_at - now - self._slack
        if wait > 0.0:
            return wait
        self._full_at[key] = full_at + self._interval
        return 0.0

    def give_back(self, key: Hashable) -> None:
        """Undo the last `take` of `key`, which took one."""
        if key in self._full_at:
            self._full_at[key] -= self._interval
        else:
            self._shared[hash(key) % _SHARED] -= self._interval

    def tokens(self, key: Hashable, now: float) -> float:
        """How many tokens the bucket of `key` holds, from 0 to `burst`; not whole ones."""
        full_at = self._full_at.get(key)
        if full_at is None:
            full_at = self._shared[hash(key) % _SHARED]
        missing = max(0.0, full_at - now) / self._interval
        return max(0.0, self.burst - missing)

    def _take_shared(self, at: int, now: float) -> float:
        full_at = max(self._shared[at], now)
        wait = full_at - now - self._slack
        if wait > 0.0:
            return wait
        self._shared[at] = full_at + self._interval
        return 0.0

    def _place(self, key: Hashable, now: float) -> bool:
        """Give `key` a place, at the cost of a bucket that is full; False where there is none."""
        keys = self._keys
        full_at = self._full_at
        if len(keys) < self._capacity:
            keys.append(key)
            full_at[key] = now
            return True
        for _ in range(_LOOKS):
            hand = self._hand
            self._hand = hand + 1 if hand + 1 < len(keys) else 0
            if full_at[keys[hand]] <= now:
                del full_at[keys[hand]]
                keys[hand] = key
                full_at[key] = now
                return True
        return False
