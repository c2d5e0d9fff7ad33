"""The news without Redis: sequences polled from PostgreSQL.

One small query for each heartbeat takes the place of pub/sub and PING. What was read proves that
everything committed before the query was sent has been applied.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sidecar.model.change import Change, ShardState
from sidecar.model.errors import StoresUnavailable
from sidecar.settings.schema import Cache
from sidecar.sync.cancellation import heed_cancellation
from sidecar.sync.follower import Follower
from sidecar.sync.keyspace import News
from sidecar.sync.publisher import Outbox

_log: Final = logging.getLogger(__name__)
_PAGE: Final = 1000


class Poll:
    """Follows the outbox until it is cancelled; stands in for `Bus` where there is no Redis.

    Args:
        outbox: what is polled.
        cache: lease and heartbeat.
        follower: what changes are applied to.
        instant: the clock of leases.
    """

    def __init__(
        self, outbox: Outbox, cache: Cache, follower: Follower, *, instant: Callable[[], float]
    ) -> None:
        self._outbox = outbox
        self._cache = cache
        self._follower = follower
        self._instant = instant
        self._known: dict[int, int] | None = None
        self._failing = False
        self.following = asyncio.Event()

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                await self.beat()
                self._failing = False
                self.following.set()
            except StoresUnavailable as error:
                if not self._failing:
                    _log.warning("the news from PostgreSQL is interrupted: %s", error)
                self._failing = True
                self.following.clear()
            heed_cancellation()
            await asyncio.sleep(self._cache.heartbeat_seconds)

    async def beat(self) -> None:
        """Reads all sequences once and applies what is new.

        Raises:
            StoresUnavailable: nothing was read; the lease runs out.
        """
        sent = self._instant()
        states = await self._outbox.states()
        if self._known is None:
            self._known = {state.shard: state.seq for state in states}
            self._follower.start_anew()
        for state in states:
            if state.seq != self._known.get(state.shard):
                await self._apply(state)
                self._known[state.shard] = state.seq
        self._follower.prove(sent)

    async def _apply(self, state: ShardState) -> None:
        known = (self._known or {}).get(state.shard, 0)
        changes = await self._outbox.after(state.shard, known, _PAGE)
        # Fewer than there should be: pruned, too many, or PostgreSQL was restored.
        if not changes or changes[0].seq != known + 1 or changes[-1].seq < state.seq:
            self._follower.start_anew()
            return
        for change in changes:
            self._follower.apply(_as_news(change))


def _as_news(change: Change) -> News:
    return News(0, *change)
