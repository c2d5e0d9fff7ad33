"""Hears the news: one pub/sub connection of our own to each server that has some of the shards.

redis-py's `PubSub` reconnects silently and loses what was published meanwhile. Here a lost
connection is an event: the lease of its shards ends with the next subscription, and the heartbeat
(`heart`) says what was missed. Losing news costs time and never truth: the lease rests on
heartbeats alone. So a connection to a former master does no harm; it ends when another one is found
(`redis_client`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from sidecar.settings.schema import Cache
from sidecar.sync.cancellation import heed_cancellation
from sidecar.sync.follower import Follower
from sidecar.sync.keyspace import Keyspace, News
from sidecar.sync.listener import Listener
from sidecar.sync.redis_client import ALL, RedisClient
from sidecar.sync.redis_node import Node

_log: Final = logging.getLogger(__name__)
# How often to look for servers while none is known.
_SEARCH_SECONDS: Final = 0.05


class _Heard(NamedTuple):
    shards: frozenset[int]
    task: asyncio.Task[None]


class Bus:
    """Follows the news until it is cancelled.

    Args:
        client: knows the servers.
        cache: lease and heartbeat.
        follower: what the news is applied to.
        resubscribed: called when news may have been missed, so that the heart beats at once.
        instant: the clock of leases.
        jitter: random numbers in [0, 1), so that a fleet does not reconnect in step.

    Attributes:
        subscriptions: how often a connection has begun to hear.
        following: set while the news of all shards are heard.
    """

    def __init__(
        self,
        client: RedisClient,
        cache: Cache,
        follower: Follower,
        *,
        resubscribed: Callable[[], None],
        instant: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._client = client
        self._cache = cache
        self._follower = follower
        self._resubscribed = resubscribed
        self._instant = instant
        self._jitter = jitter
        self._channels = [name.encode() for name in Keyspace(client.settings.prefix).channels]
        self._heard: dict[Node, _Heard] = {}
        self._deaf = set(ALL)
        self.subscriptions = 0
        self.following = asyncio.Event()

    async def run(self) -> None:
        """Never returns; follows the shards wherever they go."""
        try:
            while True:
                heed_cancellation()
                await self._settle()
                pause = self._cache.heartbeat_seconds if self._heard else _SEARCH_SECONDS
                await asyncio.sleep(pause)
        finally:
            await self._end(list(self._heard))

    async def _settle(self) -> None:
        """One listener for each server, with the shards that it has now."""
        wanted = self._client.nodes()
        for heard in self._heard.values():
            if heard.task.done() and not heard.task.cancelled():
                # It never ends but by a bug, which is told and ends us as well.
                heard.task.result()
        await self._end(
            [
                node
                for node, heard in self._heard.items()
                if wanted.get(node) != heard.shards or heard.task.done()
            ]
        )
        for node, shards in wanted.items():
            if node not in self._heard:
                self._heard[node] = _Heard(shards, asyncio.create_task(self._listen(node, shards)))

    async def _end(self, nodes: list[Node]) -> None:
        tasks = [self._heard.pop(node).task for node in nodes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, node: Node, shards: frozenset[int]) -> None:
        channels = {self._channels[shard]: shard for shard in sorted(shards)}
        listener = Listener(
            self._client,
            node,
            channels,
            self._cache,
            self,
            instant=self._instant,
            jitter=self._jitter,
        )
        await listener.run()

    def hear(self, news: News) -> None:
        """A change."""
        self._follower.apply(news, self._instant())

    def subscribed(self, shards: Iterable[int]) -> None:
        """From now on all news of `shards` come; before, some may have been missed."""
        found = frozenset(shards)
        self.subscriptions += 1
        if found == ALL:
            self._follower.resubscribed()
        else:
            self._follower.resubscribed(found)
        self._resubscribed()
        self._deaf -= found
        if not self._deaf:
            _log.info("following the news from Redis")
            self.following.set()

    def lost(self, shards: Iterable[int]) -> None:
        """No news of `shards` come any more."""
        self._deaf |= frozenset(shards)
        self.following.clear()
