"""What the relay and the publishers read: sequences, epochs, and changes not yet told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg

from sidecar.model.change import Change, ShardState
from sidecar.model.errors import StoresUnavailable
from sidecar.store.change import SINCE, changes_of
from sidecar.store.pool import Connection, Pool, describe

# Any constant will do; it must differ from that of the migrations.
_LEADER_LOCK: Final = 0x5CA1_0002
# Whoever holds the role asks each second. From a process that does not any more, because it is
# stopped or its host is gone, the server takes it back after this.
_SILENT_SECONDS: Final = 5
# Of a host that is gone the kernel knows; of a stopped process it answers for (tcp(7)).
_NOTICE_HOST: Final = f"""
SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = {_SILENT_SECONDS * 1000}
"""
_NOTICE_PROCESS: Final = "SELECT set_config('idle_session_timeout', %s, false)"
_HAS_NOTICE_PROCESS: Final = 140_000
_STATE: Final = """
SELECT shard, seq, redis_epoch, incarnation::text || '/' || auth_timeline() FROM auth_shard
"""
STATES: Final = _STATE + "ORDER BY shard"
STATE: Final = _STATE + "WHERE shard = %s"
# By PostgreSQL's clock, which chose the epoch (R2).
EPOCH_AGE: Final = """
SELECT extract(epoch FROM clock_timestamp() - redis_epoch_at)::float8 FROM auth_shard
WHERE shard = %s AND redis_epoch = %s
"""
RENEW: Final = """
UPDATE auth_shard SET redis_epoch = %(epoch)s + 1, redis_epoch_at = clock_timestamp()
WHERE shard = %(shard)s AND redis_epoch <= %(epoch)s
"""
# Locked in the order in which transactions over several shards lock them.
LOCK_ALL: Final = "SELECT 1 FROM auth_shard ORDER BY shard FOR UPDATE"
BEGIN_LIFE: Final = """
UPDATE auth_shard SET incarnation = life.id
FROM (SELECT gen_random_uuid() AS id OFFSET 0) AS life
WHERE incarnation::text || '/' || auth_timeline() = %s
"""
LED: Final = """
SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((classid::bigint << 32) | objid::bigint) = %s)
"""
# What a sidecar misses for longer than an hour it does not replay: it starts anew.
PRUNE: Final = """
WITH told AS (
  DELETE FROM auth_outbox WHERE (shard, seq) IN (
    SELECT shard, seq FROM auth_outbox WHERE created_at < now() - interval '1 hour'
    ORDER BY created_at LIMIT 10000)
), ended AS (
  DELETE FROM auth_session WHERE digest IN (
    SELECT digest FROM auth_session WHERE expires_at < now() - interval '1 day'
    ORDER BY expires_at LIMIT 1000)
)
SELECT 1
"""


class Lead:
    """The relay's role, held by one connection at a time; ends with the connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def wait(self, seconds: float) -> None:
        """Returns at the next commit of a change, or after `seconds`.

        Raises:
            StoresUnavailable: the connection is gone, and the role with it.
        """
        try:
            async for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                pass
        except (psycopg.Error, OSError) as error:
            raise StoresUnavailable(describe(error)) from error
        # A listener would not notice a dead server: it waits for news, and none come.
        await self.keep()

    async def keep(self) -> None:
        """Shows the server that we are alive; it ends the role of who has not for seconds.

        Raises:
            StoresUnavailable: the connection is gone, and the role with it.
        """
        try:
            await self._connection.execute("SELECT 1")
        except (psycopg.Error, OSError) as error:
            raise StoresUnavailable(describe(error)) from error


class Outbox:
    """Sequences and changes of all shards.

    All raise `StoresUnavailable` when PostgreSQL cannot be asked; those that return states also
    when it is a standby, which does not know how much it has not been told yet.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def states(self) -> list[ShardState]:
        """All shards, in order."""
        return [_of_primary(*row) for row in await self._pool.fetch(STATES)]

    async def state(self, shard: int) -> ShardState:
        """One shard."""
        [row] = await self._pool.fetch(STATE, (shard,))
        return _of_primary(*row)

    async def after(self, shard: int, seq: int, limit: int = 1000) -> tuple[Change, ...]:
        """The next `limit` changes of `shard` after `seq`, oldest first.

        They begin with a later one than ``seq + 1`` when that was pruned.
        """
        return changes_of(await self._pool.fetch(SINCE + " LIMIT %s", (shard, seq, limit)))

    async def renew(self, shard: int, epoch: int) -> ShardState:
        """Begins a life of Redis's content after `epoch`, unless somebody else has done so.

        Returns the shard as it is then. Waits for transactions that change the shard.
        """
        # Two statements: within one, the reading half would see the row as it was before. Between
        # them only more recent values can come, which serve as well.
        async with self._pool.transaction() as connection:
            await connection.execute(RENEW.encode(), {"shard": shard, "epoch": epoch})
        return await self.state(shard)

    async def begin_life(self, incarnation: str) -> None:
        """Gives all shards another incarnation, unless somebody else has done so.

        For data that were restored from a backup: everybody forgets what they knew (R12).

        Args:
            incarnation: the one to end, as `state` tells it.
        """
        async with self._pool.transaction() as connection:
            await connection.execute(LOCK_ALL.encode())
            await connection.execute(BEGIN_LIFE.encode(), (incarnation,))

    async def epoch_age(self, shard: int, epoch: int) -> float:
        """Seconds since `epoch` was chosen for `shard`; 0.0 where it is not the present one."""
        rows = await self._pool.fetch(EPOCH_AGE, (shard, epoch))
        return float(rows[0][0]) if rows else 0.0

    async def prune(self) -> None:
        """Deletes changes told long ago, and sessions that ended long ago; a bounded number."""
        await self._pool.fetch(PRUNE)

    @asynccontextmanager
    async def lead(self) -> AsyncIterator[Lead | None]:
        """The role of the relay for the length of the block, or None while somebody else has it.

        Asks on a pooled connection first: a connection of its own only opens when the role is
        free. It needs sessions, hence no transaction-pooling PgBouncer in between.
        """
        [(led,)] = await self._pool.fetch(LED, (_LEADER_LOCK,))
        if led:
            yield None
            return
        try:
            connection = await psycopg.AsyncConnection.connect(self._pool.conninfo, autocommit=True)
        except (psycopg.Error, OSError) as error:
            raise StoresUnavailable(describe(error)) from error
        async with connection:
            yield Lead(connection) if await _take(connection) else None


def _of_primary(shard: int, seq: int, epoch: int, incarnation: str) -> ShardState:
    """The shard, from a server that has a timeline: a standby's is left empty."""
    if incarnation.endswith("/"):
        raise StoresUnavailable("PostgreSQL: the server is a standby")
    return ShardState(shard, seq, epoch, incarnation)


async def _take(connection: Connection) -> bool:
    try:
        await connection.execute(_NOTICE_HOST.encode())
        if connection.info.server_version >= _HAS_NOTICE_PROCESS:
            await connection.execute(_NOTICE_PROCESS, (f"{_SILENT_SECONDS}s",))
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_LEADER_LOCK,))
        row = await cursor.fetchone()
        await connection.execute("LISTEN auth_outbox")
    except (psycopg.Error, OSError) as error:
        raise StoresUnavailable(describe(error)) from error
    return row is not None and bool(row[0])
