"""Redis as a fleet sees it: heads, a log, a bus that delays and loses, and what it is asked."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

from sidecar.cache.following import Beat
from sidecar.model.change import ChangeKind
from sidecar.model.shard import SHARDS
from sidecar.sync.keyspace import News

# Width of the bins in which what Redis is asked is counted.
BIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network is.

    Attributes:
        usual_seconds: median of a one-way delay; the tail is log-normal.
        spread: of the logarithm.
        lost: share of messages that one sidecar does not get.
    """

    usual_seconds: float = 0.0005
    spread: float = 0.8
    lost: float = 0.001


class Time:
    """Events in their order; nothing waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at(self.now + seconds, act)

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
        self.now = until


class FakeRedis:
    """Heads and log in this process, and PostgreSQL behind them.

    Attributes:
        is_up: whether anybody reaches it.
        published_at: for each shard when its n-th change was published; the n-th is sequence n.
        beats: heartbeats (round trips) by bin of time.
        scripts: calls of scripts by bin of time.
        counts: replays by source.
    """

    def __init__(self, time: Time, weather: Weather, chance: random.Random) -> None:
        self._time = time
        self._weather = weather
        self._chance = chance
        self.is_up = True
        self.epoch = 1
        self.committed = [0] * SHARDS
        self._log_from = [1] * SHARDS
        self.published_at: list[list[float]] = [[] for _ in range(SHARDS)]
        self.subscribers: dict[int, Callable[[News], None]] = {}
        self.beats: Counter[int] = Counter()
        self.scripts: Counter[int] = Counter()
        self.connects: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()

    def delay(self) -> float:
        """One way."""
        return self._weather.usual_seconds * self._chance.lognormvariate(0.0, self._weather.spread)

    def bin(self) -> int:
        return int(self._time.now / BIN_SECONDS)

    def commit(self, shard: int) -> None:
        """A change; published at once where Redis is there."""
        self.committed[shard] += 1
        if self.is_up:
            self.catch_up(shard)

    def catch_up(self, shard: int) -> None:
        """Tells all subscribers what is committed and was not told yet, in order (R3)."""
        published = self.published_at[shard]
        while len(published) < self.committed[shard]:
            published.append(self._time.now)
            news = self.news(shard, len(published))
            for hear in self.subscribers.values():
                if self._chance.random() >= self._weather.lost:
                    self._time.after(self.delay(), partial(hear, news))

    def news(self, shard: int, seq: int) -> News:
        return News(self.epoch, shard, seq, ChangeKind.USER, "t", f"u{seq % 97}", seq, b"")

    def beat(self, shards: int) -> dict[int, Beat]:
        """What heartbeats for that many shards cost, and all heads."""
        self.beats[self.bin()] += 1
        self.scripts[self.bin()] += shards
        return {
            shard: Beat(len(self.published_at[shard]), self.epoch, "1") for shard in range(SHARDS)
        }

    def replay(self, shard: int, first: int, last: int) -> list[News]:
        """From the log, or from PostgreSQL's outbox where the log has forgotten."""
        self.counts["log" if first >= self._log_from[shard] else "outbox"] += 1
        return [self.news(shard, seq) for seq in range(first, last + 1)]

    def fail(self) -> None:
        """It is away, with all connections and all it held."""
        self.is_up = False
        self.subscribers.clear()

    def come_back(self) -> None:
        """Empty; a relay gives it an epoch with all that was committed (R1)."""
        self.is_up = True
        self.epoch += 1
        for shard in range(SHARDS):
            published = self.published_at[shard]
            self._log_from[shard] = self.committed[shard] + 1
            published += [self._time.now] * (self.committed[shard] - len(published))
