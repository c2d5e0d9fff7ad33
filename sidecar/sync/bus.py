"""Hears the news: one pub/sub connection of our own.

redis-py's `PubSub` reconnects silently and loses what was published meanwhile. Here a lost
connection is an event: the lease ends with the next subscription, and the heartbeat (`heart`) says
what was missed. A PING on this connection shows whether it still lives: a half-open one answers
nothing, and is given up when a lease has passed. Losing news costs time and never truth: the lease
rests on heartbeats alone.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from sidecar.settings.schema import Cache, Redis
from sidecar.sync.follower import Follower
from sidecar.sync.keyspace import Keyspace, decode_news

_log: Final = logging.getLogger(__name__)
# Pauses between attempts to reconnect: doubled from the first to the last, so that recovery is
# quick and a dead Redis is not hammered.
_FIRST_PAUSE_SECONDS: Final = 0.05
_LAST_PAUSE_SECONDS: Final = 1.0


class Bus:
    """Follows the news until it is cancelled.

    Args:
        settings: where Redis is.
        cache: lease and heartbeat.
        follower: what the news is applied to.
        resubscribed: called when news may have been missed, so that the heart beats at once.
        instant: the clock of leases.
        jitter: random numbers in [0, 1), so that a fleet does not reconnect in step.
    """

    def __init__(
        self,
        settings: Redis,
        cache: Cache,
        follower: Follower,
        *,
        resubscribed: Callable[[], None],
        instant: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._follower = follower
        self._resubscribed = resubscribed
        self._instant = instant
        self._jitter = jitter
        self._channels = Keyspace(settings.prefix).channels
        self._missing: set[bytes] = set()
        self._sent: dict[bytes, float] = {}
        self._healthy = False
        self.subscriptions = 0
        self.following = asyncio.Event()

    async def run(self) -> None:
        """Never returns; reconnects for ever."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            connection = self._connection()
            try:
                await self._follow(connection)
            # A task group wraps what ended it.
            except* (RedisError, OSError, TimeoutError) as errors:
                self._tell(errors.exceptions[0])
            finally:
                was_following = self.following.is_set()
                self.following.clear()
                with suppress(RedisError, OSError):
                    await connection.disconnect(nowait=True)
            pause = _FIRST_PAUSE_SECONDS if was_following else min(2 * pause, _LAST_PAUSE_SECONDS)
            await asyncio.sleep(pause * (0.5 + self._jitter() / 2))

    def _connection(self) -> AbstractConnection:
        pool = redis.asyncio.ConnectionPool.from_url(
            self._settings.url,
            socket_timeout=None,
            socket_connect_timeout=self._settings.connect_seconds,
            protocol=2,
            client_name="sidecar-news",
        )
        connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py gives no types here
        return connection

    async def _follow(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(self._settings.connect_seconds):
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py gives no types here
        self._missing = {channel.encode() for channel in self._channels}
        self._sent.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(connection))
            await connection.send_command("SUBSCRIBE", *self._channels)
            group.create_task(self._beat(connection))

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            reply: Any = await connection.read_response(timeout=math.inf)
            match reply:
                case [b"message", _, message]:
                    news = decode_news(message)
                    if news is not None:
                        self._follower.apply(news, self._instant())
                case [b"pong", beat]:
                    self._pong(beat)
                case [b"subscribe", channel, _]:
                    self._confirmed(channel)
                case _:
                    _log.warning("unexpected message on the news connection")

    def _confirmed(self, channel: bytes) -> None:
        self._missing.discard(channel)
        if not self._missing:
            self.subscriptions += 1
            self._follower.resubscribed()
            self._resubscribed()
            if not self._healthy:
                self._healthy = True
                _log.info("following the news from Redis")
            self.following.set()

    def _pong(self, beat: bytes) -> None:
        self._sent.pop(beat, None)

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
        if self._healthy or self.subscriptions == 0:
            _log.warning("the news from Redis is interrupted: %s", type(error).__name__)
        self._healthy = False
