"""One Redis server: a client for commands, a connection for news, and how scripts are run on it."""

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Final

import redis.asyncio
import redis.exceptions
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from sidecar.settings.address import TcpAddress
from sidecar.settings.schema import Redis

# Keys and arguments of one call of a script.
Call = tuple[Sequence[str | bytes], Sequence[str | int | bytes]]


class Script:
    """A script by its text and its digest, which servers know it by once they have seen it."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.digest: Final = sha1(text.encode(), usedforsecurity=False).hexdigest()


class Node:
    """One server.

    Args:
        settings: how servers are reached; with topology ``standalone``, also where.
        address: where this one is; None for `settings.url`.

    Attributes:
        name: the address, for messages; empty for `settings.url`, which may hold a password.
        client: for commands; without retries and with few connections. Its callers bound each call.
    """

    def __init__(self, settings: Redis, address: TcpAddress | None = None) -> None:
        self._settings = settings
        self._address = address
        self.name = "" if address is None else str(address)
        self.client = redis.asyncio.Redis.from_pool(make_pool(settings, address, "sidecar"))

    def connection(self) -> AbstractConnection:
        """A connection apart from the client's, not connected yet; for news."""
        return make_connection(self._settings, self._address, "sidecar-news")

    async def run(self, script: Script, call: Call) -> Any:
        """The script's answer; a server that has not seen it is given it first.

        Raises:
            RedisError, OSError: the server did not answer, or refused.
        """
        keys, values = call
        try:
            return await self.client.evalsha(script.digest, len(keys), *keys, *values)
        except NoScriptError:
            return await self.client.eval(script.text, len(keys), *keys, *values)

    async def run_each(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """The answers of one script to several calls in one round trip; errors in their places.

        Raises:
            RedisError, OSError: the server did not answer at all.
        """
        answers = await self._pipelined(script, calls)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            await self.client.script_load(script.text)
            answers = await self._pipelined(script, calls)
        return answers

    async def _pipelined(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        async with self.client.pipeline(transaction=False) as pipeline:
            for keys, values in calls:
                pipeline.evalsha(script.digest, len(keys), *keys, *values)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    async def aclose(self) -> None:
        """Ends its connections for commands, for good."""
        await self.client.aclose()


class ConnectionPool(redis.asyncio.BlockingConnectionPool):
    """Connections to one server; none is opened any more once it was closed.

    redis-py's own would open another for whoever still asks, which nobody would close.
    """

    _is_closed = False

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connects; part of `get_connection`.

        Raises:
            RedisError, OSError: it cannot be connected, or the pool was closed.
        """
        if self._is_closed:
            raise closed()
        await super().ensure_connection(connection)
        # It was not there yet when the others were closed.
        if self._is_closed:
            await connection.disconnect(nowait=True)
            raise closed()

    async def aclose(self) -> None:
        """Ends all connections, also those that are just being opened."""
        self._is_closed = True
        await super().aclose()


def closed() -> redis.exceptions.ConnectionError:
    """What a call after the end is told."""
    return redis.exceptions.ConnectionError("the client was closed")


def make_pool(
    settings: Redis, address: TcpAddress | None, name: str, **more: Any
) -> ConnectionPool:
    """Connections to one server that never try again by themselves.

    redis-py's own `socket_timeout` goes through `asyncio.wait_for`, which before Python 3.12 loses
    a cancellation that arrives as the awaited thing ends; and it costs a task for each command.

    Args:
        settings: how.
        address: where; None for `settings.url`.
        name: what the server lists the connections under.
        more: what differs, such as another password.
    """
    options: dict[str, Any] = {
        "max_connections": settings.connections,
        "timeout": settings.command_seconds,
        "socket_timeout": None,
        "socket_connect_timeout": settings.connect_seconds,
        # By default ten retries with pauses: a request would wait for seconds.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": name,
    }
    if address is None:
        return ConnectionPool.from_url(settings.url, **options)
    options |= {
        "connection_class": SSLConnection if settings.tls else Connection,
        "host": address.host,
        "port": address.port,
        "username": settings.username,
        "password": settings.password,
        "db": settings.database,
    }
    return ConnectionPool(**(options | more))


def make_connection(
    settings: Redis, address: TcpAddress | None, name: str, **more: Any
) -> AbstractConnection:
    """One connection, not connected yet. Arguments as of `make_pool`."""
    connection: AbstractConnection = make_pool(settings, address, name, **more).make_connection()  # type: ignore[no-untyped-call]  # redis-py gives no types here
    return connection


class Line:
    """A connection on which questions are asked one at a time, opened when it is needed.

    Args:
        connection: from `make_connection`.
        seconds: bound on one question, with connecting.
    """

    def __init__(self, connection: AbstractConnection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds

    async def ask(self, *commands: tuple[str, ...]) -> list[Any]:
        """The answers to `commands`.

        Raises:
            RedisError, OSError, TimeoutError: one was refused, or none came in time.
        """
        connection = self._connection
        try:
            async with asyncio.timeout(self._seconds):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py gives no types here
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await connection.read_response() for _ in commands]
        except BaseException:
            # What comes now would be taken for the answer to the next question.
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the connection; the next question opens another."""
        await self._connection.disconnect(nowait=True)
