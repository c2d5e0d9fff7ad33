"""What `sidecar doctor` looks at in PostgreSQL."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import psycopg

from sidecar.cli.doctor_findings import (
    CHECK_SECONDS,
    Finding,
    Told,
    bounded,
    examine,
    examine_each,
    fine,
    problem,
    warning,
)
from sidecar.clock import stopwatch, wall
from sidecar.model.errors import MigrationError
from sidecar.settings.schema import Postgres
from sidecar.store import migrate
from sidecar.store.pool import Connection, connection_settings, describe

AREA: Final = "postgresql"
# gen_random_uuid() is part of it since 13; 13 itself ended in November 2025.
_OLDEST: Final = 13
_MAINTAINED: Final = 14
# Within the leeway of tokens (5 s by default) nobody notices; sessions end by PostgreSQL's clock.
_SKEW_SECONDS: Final = 1.0
_SKEW_PROBLEM_SECONDS: Final = 5.0
_NOTIFY_SECONDS: Final = 1.0

# What a message of the server or of libpq holds -> what to do.
_ADVICE: Final = (
    ("onnection refused", "start PostgreSQL, or mend host and port in stores.postgres.dsn"),
    ("could not translate host", "the host name in stores.postgres.dsn is not known here"),
    ("failed to resolve host", "the host name in stores.postgres.dsn is not known here"),
    ("password authentication failed", "mend user or password in stores.postgres.dsn"),
    ("no password supplied", "stores.postgres.dsn lacks a password"),
    ("does not exist", "create the database or the role, or mend stores.postgres.dsn"),
    ("pg_hba.conf", "the server does not let this user in from this address: see pg_hba.conf"),
    (
        "startup parameter",
        "a pooler refuses `options`: ignore them there, and let it pool sessions; or go around it",
    ),
    (
        "hot standby",
        (
            "the server is a standby, which may lag: sidecars take nothing from it; let "
            "stores.postgres.dsn name the primary, or all servers, separated by commas"
        ),
    ),
    (
        "session is read-only",
        "no server of stores.postgres.dsn may be written to: name the primary as well",
    ),
    ("too many", "max_connections is reached: raise it, or lower stores.postgres.pool_max"),
)
_LACKING: Final = """
SELECT string_agg(DISTINCT c.relname, ', ') FROM pg_class AS c, pg_namespace AS n,
  unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
WHERE c.relnamespace = n.oid AND n.nspname = current_schema() AND c.relkind = 'r'
  AND c.relname ~ '^auth_' AND c.relname <> 'auth_migration'
  AND NOT has_table_privilege(c.oid, wanted)
"""
_DURABILITY: Final = """
SELECT current_setting('fsync'), current_setting('synchronous_commit'),
       current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication)
"""


async def look(settings: Postgres) -> list[Finding]:
    """All checks; none after the first when nobody answers there."""
    try:
        conninfo = connection_settings(settings, "sidecar doctor")
    except psycopg.ProgrammingError:
        # Its message would quote the address, password and all.
        return [problem(AREA, "stores.postgres.dsn cannot be read", "see docs/configuration.md")]
    try:
        async with _connected(conninfo) as connection:
            begun = stopwatch()
            found = await examine(AREA, "PostgreSQL", partial(_reach, connection, begun))
            return found + await examine_each(
                AREA,
                (
                    ("the server's role", partial(_primary, connection)),
                    ("the migrations", partial(_migrations, settings.dsn)),
                    ("the privileges", partial(_privileges, connection)),
                    ("notifications", partial(_notifications, connection, conninfo)),
                    ("the clock", partial(_clock, connection)),
                    ("durability", partial(_durability, connection)),
                ),
            )
    except Told as told:
        return [told.finding]


@asynccontextmanager
async def _connected(conninfo: str) -> AsyncIterator[Connection]:
    try:
        connection: Connection = await bounded(
            psycopg.AsyncConnection.connect(conninfo, autocommit=True), CHECK_SECONDS
        )
    except TimeoutError:
        silent = "a firewall drops packets, or the host is down: mend it, or stores.postgres.dsn"
        raise Told(
            problem(AREA, f"PostgreSQL: no answer within {CHECK_SECONDS:g} s", silent)
        ) from None
    except (psycopg.Error, OSError) as error:
        text = describe(error)
        advice = next((advice for part, advice in _ADVICE if part in text), "")
        raise Told(problem(AREA, f"cannot connect: {text}", advice)) from None
    try:
        yield connection
    finally:
        await connection.close()


async def _value(connection: Connection, query: str) -> tuple[Any, ...]:
    cursor = await connection.execute(query.encode())
    row = await cursor.fetchone()
    return row or ()


async def _reach(connection: Connection, begun: float) -> list[Finding]:
    await connection.execute("SELECT 1")
    took = (stopwatch() - begun) * 1000
    info = connection.info
    major = info.server_version // 10_000
    where = f"{info.host}:{info.port}/{info.dbname} as {info.user}"
    text = f"PostgreSQL {major}.{info.server_version % 10_000} answers at {where} in {took:.1f} ms"
    if major < _OLDEST:
        return [problem(AREA, f"{text}: too old", f"update to {_MAINTAINED} or newer")]
    if major < _MAINTAINED:
        return [warning(AREA, f"{text}; it gets no more fixes", "update it")]
    return [fine(AREA, text)]


async def _primary(connection: Connection) -> list[Finding]:
    (standby,) = await _value(connection, "SELECT pg_is_in_recovery()")
    if standby:
        return [
            problem(
                AREA,
                "the server is a standby behind a pooler: nothing can be revoked through it, and "
                "what it says may be revoked already",
                "let the pooler connect to the primary only",
            )
        ]
    return [fine(AREA, "the server is the primary")]


async def _migrations(dsn: str) -> list[Finding]:
    try:
        status = await migrate.status(dsn)
    except MigrationError as error:
        return [problem(AREA, str(error))]
    if status.pending:
        missing = ", ".join(status.pending)
        return [problem(AREA, f"the schema lacks: {missing}", "run `sidecar migrate`")]
    return [fine(AREA, f"the schema is current ({len(status.applied)} migrations)")]


async def _privileges(connection: Connection) -> list[Finding]:
    (lacking,) = await _value(connection, _LACKING)
    user = connection.info.user
    if lacking:
        return [
            problem(
                AREA,
                f"{user} may not read and write {lacking}",
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON these tables TO {user}",
            )
        ]
    return [fine(AREA, f"{user} may read and write the tables that exist")]


async def _notifications(connection: Connection, conninfo: str) -> list[Finding]:
    """The relay is woken by NOTIFY and elected by a lock: both need a session of their own."""
    (process,) = await _value(connection, "SELECT pg_backend_pid()")
    # A pooler makes numbers of its own up.
    pooled = process != connection.info.backend_pid
    channel = f"sidecar_doctor_{secrets.token_hex(8)}"
    await connection.execute(f"LISTEN {channel}".encode())
    # From elsewhere: within one connection a pooler would pass it on.
    async with _connected(conninfo) as other:
        await other.execute(f"NOTIFY {channel}".encode())
    heard = [each async for each in connection.notifies(timeout=_NOTIFY_SECONDS, stop_after=1)]
    await connection.execute(f"UNLISTEN {channel}".encode())
    text = "notifications arrive (LISTEN works)"
    if heard and not pooled:
        return [fine(AREA, text)]
    if heard:
        advice = "it must stay in session mode: in transaction mode locks and notifications break"
        return [warning(AREA, f"{text}, through a pooler", advice)]
    between = "a pooler in transaction mode is in between" if pooled else "nobody knows why"
    return [
        problem(
            AREA,
            f"notifications do not arrive: {between}; sidecars cannot elect a relay, and what is "
            "committed is not announced when its writer fails",
            "connect to PostgreSQL directly, or set pool_mode = session for this database",
        )
    ]


async def _clock(connection: Connection) -> list[Finding]:
    before = wall()
    (there,) = await _value(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
    after = wall()
    skew = there - (before + after) / 2
    text = f"its clock is {abs(skew):.2f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    advice = "synchronise both clocks (NTP): sessions and grants end by them"
    # Half the way there and back cannot be told from skew.
    if abs(skew) - (after - before) / 2 <= _SKEW_SECONDS:
        return [fine(AREA, text)]
    kind = warning if abs(skew) <= _SKEW_PROBLEM_SECONDS else problem
    return [kind(AREA, text, advice)]


async def _durability(connection: Connection) -> list[Finding]:
    fsync, commit, names, standbys = await _value(connection, _DURABILITY)
    if fsync == "off" or commit == "off":
        name = "fsync" if fsync == "off" else "synchronous_commit"
        text = f"{name} is off: a crash of the server may undo a revocation that was acknowledged"
        return [warning(AREA, text, f"turn {name} on, at least for this user")]
    if standbys and not names:
        return [
            warning(
                AREA,
                f"{standbys} standby(s), none synchronous: a failover may undo the last changes, "
                "revocations among them",
                "set synchronous_standby_names, and fence the old primary",
            )
        ]
    if names and commit == "local":
        text = "synchronous_commit is local: standbys may lack the last revocations"
        return [warning(AREA, text, "set synchronous_commit = on for this user")]
    guarded = f"standbys are synchronous ({names})" if names else "there is no standby"
    return [fine(AREA, f"commits are durable; {guarded}")]
