"""Connections to PostgreSQL: few, bounded in every wait, and replaced when they are dead."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from sidecar.model.errors import StoresUnavailable
from sidecar.settings.schema import Postgres

Connection = AsyncConnection[tuple[Any, ...]]
Parameters = Sequence[Any] | Mapping[str, Any] | None

# Longer pauses between attempts than this would show as an outage after the database is back:
# the pool doubles them, and gives up and begins anew after this (the default is five minutes).
_RECONNECT_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0
# What `target_session_attrs` may be; the others let a standby in.
_PRIMARIES: Final = frozenset(("read-write", "primary"))
# Not to be mistaken for a dead connection, yet of no use: a standby after a failover, a server
# that shuts down, a broken connection, one too many (SQLSTATE, PostgreSQL appendix A).
_FATAL: Final = ("25006", "57P0", "08", "53300")


def connection_settings(settings: Postgres, name: str) -> str:
    """The connection string: bounded statements, a name, and death noticed within seconds."""
    given = conninfo_to_dict(settings.dsn)
    timeout = f"-c statement_timeout={int(settings.statement_seconds * 1000)}"
    hosts = f"{given.get('host') or ''} {given.get('hostaddr') or ''}"
    # A standby accepts connections as well, and lags by nobody knows how much: what it says would
    # be authorized, and kept under a lease, after its revocation was applied (PROMISES 13). Of
    # several servers it is the one that may write; of one, it is enough that it is the primary.
    wanted = given.get("target_session_attrs")
    if wanted not in _PRIMARIES:
        wanted = "read-write" if "," in hosts else "primary"
    return make_conninfo(
        settings.dsn,
        target_session_attrs=wanted,
        application_name=given.get("application_name") or name,
        options=f"{given.get('options') or ''} {timeout}".strip(),
        # libpq counts in whole seconds and takes 1 for 2.
        connect_timeout=given.get("connect_timeout") or 2,
        # A host that vanished answers nothing: give up on unacknowledged bytes after 2 s.
        tcp_user_timeout=given.get("tcp_user_timeout") or 2000,
    )


class Pool:
    """A bounded pool in autocommit mode. Use it as ``async with Pool(settings) as pool``.

    Args:
        settings: where, and how long to wait for what.
        name: what the server lists the connections as.
    """

    def __init__(self, settings: Postgres, name: str = "sidecar") -> None:
        self.settings = settings
        self.conninfo = connection_settings(settings, name)
        # Each failed attempt is a warning of the pool's; the 503 it causes is ours to tell.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self.conninfo,
            open=False,
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            timeout=settings.pool_wait_seconds,
            max_waiting=settings.pool_waiting,
            reconnect_timeout=_RECONNECT_SECONDS,
            # Autocommit halves the latency of a read; each statement is prepared at first use.
            kwargs={"autocommit": True, "prepare_threshold": 0},
        )

    async def open(self) -> None:
        """Starts the pool; no connection has to succeed."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Closes all connections."""
        # Attempts to connect to a host that vanished end with the loop.
        await self._pool.close(timeout=_CLOSE_SECONDS)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, query: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Runs one reading statement and returns its rows.

        A connection that turns out to be dead is replaced and the statement tried once more;
        checking each before use would double the latency.

        Raises:
            StoresUnavailable: no connection in time, no answer in time, or no such table.
        """
        try:
            try:
                return await self._fetch(query, parameters)
            except psycopg.OperationalError as error:
                if not _is_dead(error):
                    raise
                # Where one is dead the others are likely dead as well.
                await self._pool.check()
                return await self._fetch(query, parameters)
        except (psycopg.Error, OSError) as error:
            raise StoresUnavailable(describe(error)) from error

    async def _fetch(self, query: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        async with self.connection() as connection:
            cursor = await connection.execute(query.encode(), parameters)
            return await cursor.fetchall()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool, discarded when it turns out to be of no use.

        Raises:
            psycopg.Error: as the pool and the statements do.
        """
        async with self._pool.connection() as connection:
            try:
                yield connection
            except psycopg.Error as error:
                if (error.sqlstate or "").startswith(_FATAL):
                    await connection.close()
                raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection within a transaction, committed at the end. Never tried again.

        Raises:
            StoresUnavailable: it could not be begun, continued or committed for want of the server.
            psycopg.Error: the server refused a statement.
        """
        try:
            async with self.connection() as connection, connection.transaction():
                yield connection
        except (psycopg.OperationalError, psycopg.InternalError, OSError) as error:
            raise StoresUnavailable(describe(error)) from error
        except psycopg.ProgrammingError as error:
            if isinstance(error, psycopg.errors.UndefinedTable):
                raise StoresUnavailable(describe(error)) from error
            raise

    async def check(self) -> None:
        """Replaces dead connections now: for a watchdog that saw the database come back."""
        await self._pool.check()


def _is_dead(error: psycopg.OperationalError) -> bool:
    """Whether `error` tells of a broken connection, not of a wait or a statement."""
    if error.sqlstate is not None:
        return error.sqlstate.startswith(("57P0", "08"))
    return type(error) is psycopg.OperationalError


def describe(error: BaseException) -> str:
    """One line for operators about what PostgreSQL did."""
    if isinstance(error, psycopg.errors.UndefinedTable):
        return "the schema is missing: run `sidecar migrate`"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"PostgreSQL: {lines[0]}"
