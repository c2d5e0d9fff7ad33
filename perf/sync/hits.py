"""How much S3-FIFO keeps of what is used again, beside a plain LRU of the same size.

The mix: sessions of very different activity (Zipf), churn (one signs out, another signs in), and
tokens that are seen once. The tokens can be a hit for nobody; so the ratio is that of the sessions.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from perf.sync.figures import table
from sidecar.cache.s3fifo import S3Fifo

Key = tuple[int, int]
# Of sessions in use.
CAPACITIES = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 1.2)


@dataclass(frozen=True, slots=True)
class Mix:
    """A trace.

    Attributes:
        sessions: in use at any time.
        requests: in the trace.
        skew: exponent of the Zipf distribution.
        churn: requests after which one session is replaced by another.
        one_hit: share of requests that bring a token never seen again.
        seed: of chance.
    """

    sessions: int = 20_000
    requests: int = 1_000_000
    skew: float = 0.9
    churn: int = 100
    one_hit: float = 0.1
    seed: int = 1

    def trace(self) -> Iterator[tuple[bool, Key]]:
        """(whether it may come again, key)."""
        chance = random.Random(self.seed)
        weights = [*accumulate(rank**-self.skew for rank in range(1, self.sessions + 1))]
        # Which session is how busy has nothing to do with its age.
        lives = [0] * self.sessions
        slots = chance.choices(range(self.sessions), cum_weights=weights, k=self.requests)
        for number, slot in enumerate(slots):
            if number % self.churn == 0:
                lives[chance.randrange(self.sessions)] += 1
            if chance.random() < self.one_hit:
                yield False, (-1, number)
            else:
                yield True, (slot, lives[slot])


class Kept(Protocol):
    """What both caches can do."""

    def get(self, key: Key, /) -> int | None:
        """The value, or None."""

    def put(self, key: Key, value: int, /) -> None:
        """Keep it."""


class Lru:
    """The plain one: an ordered dict."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Key, int] = OrderedDict()

    def get(self, key: Key) -> int | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: int) -> None:
        if len(self._entries) >= self._capacity:
            self._entries.popitem(last=False)
        self._entries[key] = value


def replayed(cache: Kept, trace: Sequence[tuple[bool, Key]]) -> tuple[float, float]:
    """Hit ratio of what may come again in the second half of `trace`; microseconds per request."""
    asked = hits = 0
    half = len(trace) // 2
    begun = time.perf_counter()
    for number, (counts, key) in enumerate(trace):
        found = cache.get(key)
        if found is None:
            cache.put(key, 1)
        if counts and number >= half:
            asked += 1
            hits += found is not None
    return hits / asked, (time.perf_counter() - begun) / len(trace) * 1e6


def compared(mix: Mix) -> list[dict[str, float]]:
    """Both caches on one trace, at every capacity."""
    trace = list(mix.trace())
    rows = []
    for share in CAPACITIES:
        capacity = int(share * mix.sessions)
        lru, lru_us = replayed(Lru(capacity), trace)
        s3fifo, s3fifo_us = replayed(S3Fifo[Key, int](capacity), trace)
        rows.append(
            {
                "capacity": capacity,
                "lru": round(lru, 4),
                "s3fifo": round(s3fifo, 4),
                "lru_us": round(lru_us, 3),
                "s3fifo_us": round(s3fifo_us, 3),
            }
        )
    return rows


def ratios_table(rows: Sequence[dict[str, float]], mix: Mix) -> str:
    """One line for each capacity."""
    return table(
        ("capacity", "of sessions", "LRU", "S3-FIFO", "points", "LRU us", "S3-FIFO us"),
        [
            (
                f"{row['capacity']:.0f}",
                f"{row['capacity'] / mix.sessions:.0%}",
                f"{row['lru']:.1%}",
                f"{row['s3fifo']:.1%}",
                f"{100 * (row['s3fifo'] - row['lru']):+.1f}",
                f"{row['lru_us']:.2f}",
                f"{row['s3fifo_us']:.2f}",
            )
            for row in rows
        ],
    )
