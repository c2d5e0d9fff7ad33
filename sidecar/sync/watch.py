"""What is measured of the news: how late they are, how many are missing, whom Redis leaves alone.

Bookkeeping beside `Follower`, which tells it what it heard; read only when metrics are scraped.
"""

from collections.abc import Callable
from typing import Final

from sidecar.cache.following import Beat, Verdict
from sidecar.model.shard import SHARDS
from sidecar.sync.keyspace import News
from sidecar.telemetry.meters import Histogram

_SHARDS: Final = range(SHARDS)


class Watch:
    """Watches a follower.

    Args:
        wall: this machine's wall clock; the publisher's is another one, so lags are only as
            good as the two clocks agree.

    Attributes:
        lag: published → applied, in seconds; of live news only, never of what was replayed.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._heads = [0] * SHARDS
        self._suspect: set[int] = set()
        self.lag = Histogram()

    def heard(self, news: News) -> None:
        """A change came through pub/sub and was applied."""
        if not news.epoch:
            return  # from here or from PostgreSQL: nobody published it
        self._heads[news.shard] = max(self._heads[news.shard], news.seq)
        if news.published_ms > 0:
            # A publisher whose clock is ahead of ours did not publish in the future.
            self.lag.add(max(0.0, self._wall() - news.published_ms / 1000))

    def beaten(self, shard: int, answer: Beat | None, verdict: Verdict) -> None:
        """A heartbeat of `shard` was answered."""
        if answer is not None:
            self._heads[shard] = answer.head
        if verdict is Verdict.SUSPECT:
            self._suspect.add(shard)
        else:
            self._suspect.discard(shard)

    def gap(self, watermark: Callable[[int], int | None]) -> int:
        """The largest distance between what was published and what was applied, over all shards."""
        return max(max(0, self._heads[shard] - (watermark(shard) or 0)) for shard in _SHARDS)

    @property
    def suspect(self) -> int:
        """How many shards Redis could not vouch for when it was last asked."""
        return len(self._suspect)
