"""The news without Redis: sequences polled from PostgreSQL.

One small query for each heartbeat takes the place of pub/sub and of Redis's head. What was read
proves that everything committed before the query was sent has been applied.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sidecar.cache.following import Beat
from sidecar.model.errors import StoresUnavailable
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache
from sidecar.sync.cancellation import heed_cancellation
from sidecar.sync.follower import Follower
from sidecar.sync.publisher import Outbox
from sidecar.sync.replay import Replays

_log: Final = logging.getLogger(__name__)


class Poll:
    """Follows the outbox until it is cancelled; stands in for `Bus` and `Heart` without Redis.

    Args:
        outbox: what is polled.
        cache: interval of heartbeats.
        follower: what changes are applied to.
        instant: the clock of leases.

    Attributes:
        following: set while memory may be used.
    """

    def __init__(
        self, outbox: Outbox, cache: Cache, follower: Follower, *, instant: Callable[[], float]
    ) -> None:
        self._outbox = outbox
        self._interval = cache.heartbeat_seconds
        self._follower = follower
        self._instant = instant
        self._failing = False
        self._replays = Replays(follower, outbox, None, instant=instant)
        self.following = asyncio.Event()

    async def run(self) -> None:
        """Never returns."""
        try:
            while True:
                heed_cancellation()
                await self._round()
                following = self.following.is_set()
                await asyncio.sleep(self._interval if following else self._interval / 5)
        finally:
            await self._replays.stop()

    async def _round(self) -> None:
        try:
            await self.beat()
            self._failing = False
        except StoresUnavailable as error:
            if not self._failing:
                _log.warning("the news from PostgreSQL is interrupted: %s", error)
            self._failing = True
        if self._follower.is_leased(self._instant()):
            self.following.set()
        else:
            self.following.clear()

    async def beat(self) -> None:
        """Reads all sequences once and applies what is new, as far as that takes an interval.

        Raises:
            StoresUnavailable: nothing was read; the lease runs out.
        """
        sent = self._instant()
        claims = self._follower.claims(range(SHARDS))
        states = await self._outbox.states()
        # No epochs of Redis are followed here, and the answer is PostgreSQL's own.
        if self._follower.compare(claims, states):
            _log.warning("PostgreSQL was restored: all that was known is forgotten")
        for state in states:
            answer = Beat(state.seq, 0, state.incarnation)
            self._follower.beaten(state.shard, sent, answer, self._instant())
        self._replays.start(self._follower.missing(self._instant(), patience=0.0))
        await self._replays.wait(self._interval)
