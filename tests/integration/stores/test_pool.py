"""Connections that die, hang or are refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sidecar.cli import doctor_postgres
from sidecar.cli.doctor_findings import State
from sidecar.model.errors import StoresUnavailable
from sidecar.model.need import RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Postgres
from sidecar.store import change, facts, sessions, users
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Connection, Pool, connection_settings
from sidecar.store.users import Users
from tests.servers import Proxy

KILL = b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sidecar'"


def behind(dsn: str, proxy: Proxy) -> str:
    return make_conninfo(dsn, host="127.0.0.1", port=proxy.port)


def port(dsn: str) -> int:
    return int(str(conninfo_to_dict(dsn)["port"]))


async def test_dead_connections_are_replaced_without_an_error(database: str) -> None:
    async with Pool(Postgres(dsn=database)) as pool:
        async with pool.connection(), pool.connection(), pool.connection():
            pass
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
            cursor = await other.execute(KILL)
            assert len(await cursor.fetchall()) >= 3
        assert await pool.fetch("SELECT 1") == [(1,)]


async def test_no_server_is_unavailable_within_the_bound() -> None:
    nowhere = "host=127.0.0.1 port=1 user=x"
    async with Pool(Postgres(dsn=nowhere, pool_wait_seconds=0.1)) as pool:
        with pytest.raises(StoresUnavailable):
            await FactStore(pool).read(UserNeed("acme", "alice"))
        with pytest.raises(StoresUnavailable):
            await Users(pool).create("acme", "alice")


async def test_it_recovers_when_the_server_is_back(database: str) -> None:
    with Proxy(port(database)) as proxy:
        settings = Postgres(dsn=behind(database, proxy), pool_wait_seconds=0.2)
        async with Pool(settings) as pool:
            assert await pool.fetch("SELECT 1") == [(1,)]
            proxy.cut()
            with pytest.raises(StoresUnavailable):
                await pool.fetch("SELECT 1")
            proxy.mend()
            # PROMISES 18: without a restart, within 5 s.
            async with asyncio.timeout(5):
                while True:
                    try:
                        assert await pool.fetch("SELECT 1") == [(1,)]
                    except StoresUnavailable:
                        continue
                    break


async def test_a_statement_that_takes_too_long_is_unavailable(database: str) -> None:
    async with Pool(Postgres(dsn=database, statement_seconds=0.05)) as pool:
        with pytest.raises(StoresUnavailable, match="statement timeout"):
            await pool.fetch("SELECT pg_sleep(5)")
        assert await pool.fetch("SELECT 1") == [(1,)]


async def test_too_many_waiting_is_unavailable_at_once(database: str) -> None:
    settings = Postgres(dsn=database, pool_max=1, pool_waiting=1, pool_wait_seconds=0.2)
    async with Pool(settings) as pool, pool.connection():
        outcomes = await asyncio.gather(
            *(pool.fetch("SELECT 1") for _ in range(3)), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [StoresUnavailable] * 3


async def test_a_missing_schema_is_unavailable_and_says_what_to_do(empty_database: str) -> None:
    async with Pool(Postgres(dsn=empty_database)) as pool:
        with pytest.raises(StoresUnavailable, match="sidecar migrate"):
            await FactStore(pool).read(SessionNeed(b"", 0))
        with pytest.raises(StoresUnavailable, match="sidecar migrate"):
            await Users(pool).create("acme", "alice")


async def test_a_server_that_is_read_only_is_unavailable_and_left(
    database: str, pool: Pool, acme: str
) -> None:
    async with pool.connection() as connection:
        await connection.execute(b"SET default_transaction_read_only = on")
        pid = connection.info.backend_pid
    with pytest.raises(StoresUnavailable, match="read-only"):
        await Users(pool).create(acme, "bob")
    async with pool.connection() as connection:
        assert connection.info.backend_pid != pid
    assert database


def test_the_operators_own_settings_stay() -> None:
    given = Postgres(dsn="host=h application_name=mine options='-c search_path=auth'")
    settings = conninfo_to_dict(connection_settings(given, "sidecar"))
    assert settings["application_name"] == "mine"
    assert settings["options"] == "-c search_path=auth -c statement_timeout=1000"


@pytest.mark.parametrize(
    ("dsn", "wanted"),
    [
        ("host=one,two user=x", "read-write"),
        ("postgresql://x@one:1,two:2/y", "read-write"),
        ("hostaddr=10.0.0.1,10.0.0.2 user=x", "read-write"),
        ("host=one,two target_session_attrs=any", "read-write"),
        ("host=one,two target_session_attrs=primary", "primary"),
        ("host=one user=x", "primary"),
        ("host=one target_session_attrs=prefer-standby", "primary"),
        ("host=one target_session_attrs=read-write", "read-write"),
        ("dbname=x", "primary"),
    ],
)
def test_the_primary_is_wanted(dsn: str, wanted: str | None) -> None:
    settings = conninfo_to_dict(connection_settings(Postgres(dsn=dsn), "sidecar"))
    assert settings.get("target_session_attrs") == wanted


async def test_a_standby_of_several_servers_is_passed_over(database: str) -> None:
    """As far as a connection tells: it may not write."""
    parts = conninfo_to_dict(database)
    host, where = parts["host"], parts["port"]
    several = make_conninfo(database, host=f"{host},{host}", port=f"{where},{where}")
    async with Pool(Postgres(dsn=several)) as pool:
        assert await pool.fetch("SELECT 1") == [(1,)]
    refusing = make_conninfo(several, options="-c default_transaction_read_only=on")
    async with Pool(Postgres(dsn=refusing, pool_wait_seconds=0.2)) as pool:
        with pytest.raises(StoresUnavailable):
            await pool.fetch("SELECT 1")


def _told(kind: bytes, *words: bytes) -> bytes:
    """A message of the server (PostgreSQL, "Message Formats")."""
    body = b"".join(words)
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@asynccontextmanager
async def one_that_says(standby: bytes) -> AsyncIterator[str]:
    """A server that lets everybody in and says whether it is a standby; gives its DSN."""
    hello = b"".join(
        (
            _told(b"R", bytes(4)),
            _told(b"S", b"server_version\0", b"16.4\0"),
            _told(b"S", b"client_encoding\0", b"UTF8\0"),
            _told(b"S", b"default_transaction_read_only\0", b"off\0"),
            _told(b"S", b"in_hot_standby\0", standby, b"\0"),
            _told(b"K", bytes(8)),
            _told(b"Z", b"I"),
        )
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(size - 4)
        writer.write(hello)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"host=127.0.0.1 port={port} user=x dbname=x sslmode=disable gssencmode=disable"


async def test_no_fact_is_taken_from_a_single_server_that_is_a_standby() -> None:
    """It may lack the revocation of what it says is so (PROMISES 13)."""
    async with one_that_says(b"off") as dsn:
        connection = await psycopg.AsyncConnection.connect(Pool(Postgres(dsn=dsn)).conninfo)
        await connection.close()
    async with one_that_says(b"on") as dsn:
        settings = Postgres(dsn=dsn, pool_wait_seconds=0.2)
        with pytest.raises(psycopg.OperationalError, match="hot standby"):
            await psycopg.AsyncConnection.connect(Pool(settings).conninfo)
        async with Pool(settings) as pool:
            with pytest.raises(StoresUnavailable):
                await FactStore(pool).read(RolesNeed("acme"))
        [found] = await doctor_postgres.look(settings)
        assert found.state is State.PROBLEM
        assert "the server is a standby, which may lag" in found.advice


async def test_a_standby_says_nothing_about_sequences(pool: Pool) -> None:
    """It has no timeline of its own, and does not know what it has not been told yet."""
    outbox = Outbox(pool)
    assert len(await outbox.states()) == SHARDS
    async with pool.connection() as connection:
        await connection.execute(
            b"CREATE OR REPLACE FUNCTION auth_timeline() RETURNS text LANGUAGE sql AS $$SELECT ''$$"
        )
    for read in (outbox.states(), outbox.state(0), outbox.renew(0, 0)):
        with pytest.raises(StoresUnavailable, match="is a standby"):
            await read


HOT = [
    ("session", facts.SESSION, (b"x",), ["auth_session_pkey"]),
    (
        "user",
        facts.USER,
        ("acme", "alice"),
        ["auth_user_pkey", "auth_role_grant_pkey", "auth_rule_grant_pkey", "auth_tenant_pkey"],
    ),
    (
        "roles",
        facts.ROLES,
        ("acme",),
        ["auth_tenant_pkey", "auth_role_pkey", "auth_role_parent_pkey", "auth_role_rule_pkey"],
    ),
    ("outbox", change.SINCE, (1, 1), ["auth_outbox_pkey"]),
    ("users", users.LIST, ("acme", "", 10), ["auth_user_pkey"]),
    ("revoke", sessions.REVOKE, ("x", "acme"), ["auth_session_id"]),
    ("revoke all", sessions.REVOKE_ALL, ("acme", "alice"), ["auth_session_holder"]),
]


async def plan(connection: Connection, query: str, parameters: tuple[object, ...]) -> str:
    cursor = await connection.execute(b"EXPLAIN " + query.encode(), parameters)
    return "\n".join(row[0] for row in await cursor.fetchall())


@pytest.mark.parametrize(
    ("query", "parameters", "indexes"), [row[1:] for row in HOT], ids=[row[0] for row in HOT]
)
async def test_hot_queries_use_an_index(
    pool: Pool, query: str, parameters: tuple[object, ...], indexes: list[str]
) -> None:
    async with pool.connection() as connection:
        # The tables are empty: without the hint each scan would be sequential.
        await connection.execute(b"SET enable_seqscan = off")
        await connection.execute(b"SET enable_bitmapscan = off")
        chosen = await plan(connection, query, parameters)
    assert "Seq Scan" not in chosen
    assert all(f"using {index} " in chosen for index in indexes), chosen
