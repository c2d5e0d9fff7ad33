"""One connection that hears the news of some shards, from the server that they are on.

A PING on it shows whether it still lives: a half-open one answers nothing, and is given up when a
lease has passed.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from sidecar.settings.schema import Cache
from sidecar.sync.cancellation import heed_cancellation
from sidecar.sync.keyspace import News, decode_news
from sidecar.sync.redis_client import RedisClient
from sidecar.sync.redis_node import Node

_log: Final = logging.getLogger(__name__)
# Pauses between attempts to reconnect: doubled from the first to the last, so that recovery is
# quick and a dead Redis is not hammered.
_FIRST_PAUSE_SECONDS: Final = 0.05
_LAST_PAUSE_SECONDS: Final = 1.0


class Hears(Protocol):
    """Who is told (`Bus`)."""

    def hear(self, news: News) -> None:
        """A change."""
        ...

    def subscribed(self, shards: Iterable[int]) -> None:
        """From now on all news of `shards` come; before, some may have been missed."""
        ...

    def lost(self, shards: Iterable[int]) -> None:
        """No news of `shards` come any more."""
        ...


class Listener:
    """Listens until it is cancelled.

    Args:
        client: is told of doubts; knows how news travel.
        node: the server.
        channels: of the shards that it has: name -> shard.
        cache: lease and heartbeat.
        hears: who is told.
        instant: the clock of leases.
        jitter: random numbers in [0, 1), so that a fleet does not reconnect in step.
    """

    def __init__(
        self,
        client: RedisClient,
        node: Node,
        channels: dict[bytes, int],
        cache: Cache,
        hears: Hears,
        *,
        instant: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._client = client
        self._node = node
        self._channels = channels
        self._cache = cache
        self._hears = hears
        self._instant = instant
        self._jitter = jitter
        self._missing: set[bytes] = set()
        self._sent: dict[bytes, float] = {}
        self._following = False
        self._told = False

    async def run(self) -> None:
        """Never returns; reconnects for ever."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            connection = self._node.connection()
            try:
                await self._follow(connection)
            except (RedisError, OSError) as error:
                self._tell(error)
                self._client.doubt()
            finally:
                was_following, self._following = self._following, False
                self._hears.lost(self._channels.values())
                with suppress(RedisError, OSError):
                    await connection.disconnect(nowait=True)
            heed_cancellation()
            pause = _FIRST_PAUSE_SECONDS if was_following else min(2 * pause, _LAST_PAUSE_SECONDS)
            await asyncio.sleep(pause * (0.5 + self._jitter() / 2))

    async def _follow(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(self._client.settings.connect_seconds):
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py gives no types here
        self._missing = set(self._channels)
        self._sent.clear()
        # No task group: before Python 3.12 it drops a cancellation that comes as a task fails, and
        # counts one that never came.
        tasks = [asyncio.create_task(self._read(connection))]
        try:
            await connection.send_packed_command(connection.pack_commands(self._subscriptions()))
            tasks.append(asyncio.create_task(self._beat(connection)))
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _subscriptions(self) -> list[tuple[str | bytes, ...]]:
        if not self._client.sharded:
            return [("SUBSCRIBE", *self._channels)]
        # All channels of one command must be of one slot.
        return [("SSUBSCRIBE", channel) for channel in self._channels]

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            reply: Any = await connection.read_response(timeout=math.inf)
            match reply:
                case [b"message" | b"smessage", _, message]:
                    news = decode_news(message)
                    if news is not None:
                        self._hears.hear(news)
                case [b"pong", beat]:
                    self._sent.pop(beat, None)
                case [b"subscribe" | b"ssubscribe", channel, _]:
                    self._confirmed(channel)
                case [b"sunsubscribe", *_]:
                    # Nobody asked for it: the slot has moved to another server.
                    raise ConnectionError("a channel has moved")
                case _:
                    _log.warning("unexpected message on the news connection")

    def _confirmed(self, channel: bytes) -> None:
        self._missing.discard(channel)
        if not self._missing:
            self._following = True
            if self._told:
                self._told = False
                _log.info("following the news from Redis%s again", self._where())
            self._hears.subscribed(self._channels.values())

    async def _beat(self, connection: AbstractConnection) -> None:
        count = 0
        while True:
            count += 1
            beat = str(count).encode()
            if not self._missing:
                self._sent[beat] = self._instant()
                # After a disconnection `send_command` would reconnect, without a subscription.
                if not connection.is_connected:
                    raise ConnectionError("disconnected")
                await connection.send_command("PING", beat)
            pause = self._cache.heartbeat_seconds if not self._missing else _FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            oldest = min(self._sent.values(), default=None)
            if oldest is not None and self._instant() - oldest > self._cache.lease_seconds:
                raise TimeoutError("no answer on the news connection")
            if self._missing and count * pause > self._cache.lease_seconds:
                raise TimeoutError("the subscription was not confirmed")

    def _tell(self, error: BaseException) -> None:
        """Once for each outage."""
        if not self._told:
            _log.warning(
                "the news from Redis%s is interrupted: %s", self._where(), type(error).__name__
            )
        self._told = True

    def _where(self) -> str:
        return f" at {self._node.name}" if self._node.name else ""
