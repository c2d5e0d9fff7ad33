"""One sidecar of the fleet: the product's `Follower`, beaten and reconnected as the product does.

What `Heart` and the listener do around it is repeated here in virtual time, with their constants.
"""

import random
from collections.abc import Callable, MutableSequence

from perf.fleet.network import FakeRedis, Time
from sidecar.cache.following import Beat, Following, Verdict
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache
from sidecar.sync import listener
from sidecar.sync.follower import PATIENCE_SECONDS, Follower
from sidecar.sync.keyspace import News

_FIRST = listener._FIRST_PAUSE_SECONDS  # noqa: SLF001  the product's own pauses
_LAST = listener._LAST_PAUSE_SECONDS  # noqa: SLF001
_ALL = frozenset(range(SHARDS))


class Leases:
    """A memory without facts."""

    def __init__(self) -> None:
        self.leases = [0.0] * SHARDS

    @property
    def lease_until(self) -> float:
        return min(self.leases)

    def lease(self, shard: int, until: float) -> None:
        self.leases[shard] = until

    def drop(self, need: object) -> None: ...

    def drop_session(self, digest: bytes) -> None: ...

    def drop_tenant(self, tenant: str) -> None: ...

    def flush(self) -> None: ...

    def flush_shard(self, shard: int) -> None: ...

    def doom(self, need: object) -> None: ...

    def doom_tenant(self, tenant: str) -> None: ...

    def doom_all(self) -> None: ...

    def reached(self, shard: int, seq: int) -> None: ...


class Node:
    """A sidecar that follows the news.

    Attributes:
        is_cut_off: whether it reaches Redis.
        resyncs: of its follower.
        recovered: when it had all leases again after it had lost one.
        wrong: sentences about leases that outlive what they cover.
    """

    def __init__(
        self,
        number: int,
        time: Time,
        redis: FakeRedis,
        cache: Cache,
        chance: random.Random,
        lags: MutableSequence[float],
        *,
        following: type[Following] = Following,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._number, self._time, self._redis, self._cache = number, time, redis, cache
        self._jitter = jitter or chance.random
        self._lags = lags
        self._leases = Leases()
        self._follower = Follower(self._leases, self._leases, cache.lease_seconds)
        self._follower._shards = [  # noqa: SLF001  perhaps of a broken kind
            following(cache.lease_seconds) for _ in range(SHARDS)
        ]
        self._follower.on_applied = self._want
        self.resyncs = self._follower.resyncs
        self._applied: list[set[int]] = [set() for _ in range(SHARDS)]
        self._contiguous = [0] * SHARDS
        self._wanted: set[int] = set()
        self._is_beating = False
        self._due = 0.0
        self._pause = _FIRST
        self._connection = 0
        self.is_cut_off = False
        self.lost_at: float | None = 0.0
        self.recoveries: list[tuple[float, float]] = []
        self.wrong: list[str] = []
        time.after(chance.random() * cache.heartbeat_seconds, self._connect)
        time.after(chance.random() * cache.heartbeat_seconds, self._tick)

    @property
    def _reaches(self) -> bool:
        return self._redis.is_up and not self.is_cut_off

    # The listener

    def _connect(self) -> None:
        self._redis.connects[self._redis.bin()] += 1
        if not self._reaches:
            self._pause = min(2 * self._pause, _LAST)
            self._time.after(self._pause * (0.5 + self._jitter() / 2), self._connect)
            return
        self._pause = _FIRST
        self._connection += 1
        connection = self._connection

        def hear(news: News) -> None:
            if connection == self._connection and not self.is_cut_off:
                self._apply(news)

        self._redis.subscribers[self._number] = hear
        self._follower.resubscribed()
        self._wanted |= _ALL
        self._beat_soon()

    def disconnected(self, after: float) -> None:
        """Its connection is gone, which it notices after a while."""
        self._connection += 1
        self._redis.subscribers.pop(self._number, None)
        self._time.after(after + self._pause * (0.5 + self._jitter() / 2), self._connect)

    # The heart

    def _tick(self) -> None:
        self._wanted |= _ALL
        self._due = self._time.now + self._cache.heartbeat_seconds
        self._beat_soon()
        self._time.at(self._due, self._tick)

    def _want(self, shard: int) -> None:
        self._wanted.add(shard)
        self._beat_soon()

    def _beat_soon(self) -> None:
        if self._is_beating or not self._wanted:
            return
        self._is_beating = True
        shards, self._wanted = frozenset(self._wanted), set()
        sent = self._time.now
        if not self._reaches:
            # Refused, or given up after the bound on a command.
            self._time.after(0.25, lambda: self._answered(shards, sent, None))
            return
        self._time.after(self._redis.delay(), lambda: self._served(shards, sent))

    def _served(self, shards: frozenset[int], sent: float) -> None:
        answer = self._redis.beat(len(shards)) if self._reaches else None
        self._time.after(self._redis.delay(), lambda: self._answered(shards, sent, answer))

    def _answered(
        self, shards: frozenset[int], sent: float, answer: dict[int, Beat] | None
    ) -> None:
        self._is_beating = False
        now = self._time.now
        if answer is not None and not self.is_cut_off:
            for shard in shards:
                verdict = self._follower.beaten(shard, sent, answer[shard], now)
                if verdict is Verdict.STARTED:
                    self._contiguous[shard] = max(self._contiguous[shard], answer[shard].head)
                self._check(shard)
            if self._follower.missing(now, 0.0):
                # A little more: sums of floats may fall short.
                self._time.after(PATIENCE_SECONDS + 0.001, self._replay)
        self._note_lease()
        self._beat_soon()

    def _replay(self) -> None:
        if not self._reaches:
            return
        for missing in self._follower.missing(self._time.now):
            found = self._redis.replay(missing.shard, missing.first, missing.last)
            now = self._time.now
            for news in found:
                self._note(news)
            self._follower.replay(missing, found, now)
            self._wanted.add(missing.shard)
        self._beat_soon()

    # What is measured

    def _apply(self, news: News) -> None:
        self._note(news)
        self._follower.apply(news, self._time.now)

    def _note(self, news: News) -> None:
        applied, shard, seq = self._applied[news.shard], news.shard, news.seq
        if seq <= self._contiguous[shard] or seq in applied:
            return
        self._lags.append(self._time.now - self._redis.published_at[shard][seq - 1])
        applied.add(seq)
        while self._contiguous[shard] + 1 in applied:
            self._contiguous[shard] += 1
            applied.remove(self._contiguous[shard])

    def _check(self, shard: int) -> None:
        """No lease outlives the first change it does not cover by more than L (promise 14)."""
        published = self._redis.published_at[shard]
        lacking = self._contiguous[shard]
        if lacking < len(published):
            longest = published[lacking] + self._cache.lease_seconds
            until = self._leases.leases[shard]
            if until > longest:
                self.wrong.append(
                    f"sidecar {self._number} uses shard {shard} until {until:.3f} without change "
                    f"{lacking + 1}, published at {published[lacking]:.3f}"
                )

    def _note_lease(self) -> None:
        leased = self._time.now < self._leases.lease_until
        if leased and self.lost_at is not None:
            self.recoveries.append((self.lost_at, self._time.now))
            self.lost_at = None
        elif not leased and self.lost_at is None:
            self.lost_at = self._leases.lease_until
