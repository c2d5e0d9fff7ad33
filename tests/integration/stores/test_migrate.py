"""The migration runner against a real PostgreSQL."""

import asyncio

import psycopg
import pytest

from sidecar.model.errors import MigrationError, StoresUnavailable
from sidecar.store.migrate import Migration, available, migrate, status

ONE = Migration(1, "0001_one", "CREATE TABLE one (a int); INSERT INTO one VALUES (1);")
TWO = Migration(2, "0002_two", "CREATE TABLE two (a int)")


async def count(dsn: str, table: str) -> int:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        cursor = await connection.execute(b"SELECT count(*) FROM " + table.encode())
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


async def test_applies_each_once_and_in_order(empty_database: str) -> None:
    assert await migrate(empty_database, (ONE,)) == ("0001_one",)
    assert await migrate(empty_database, (ONE, TWO)) == ("0002_two",)
    assert await migrate(empty_database, (ONE, TWO)) == ()
    assert await count(empty_database, "one") == 1


async def test_two_at_once_apply_everything_once(empty_database: str) -> None:
    outcomes = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    names = [name for outcome in outcomes for name in outcome]
    assert sorted(names) == [step.name for step in available()]


async def test_refuses_a_migration_changed_after_it_was_applied(empty_database: str) -> None:
    await migrate(empty_database, (ONE,))
    changed = ONE._replace(sql=ONE.sql + " -- nothing to see")
    with pytest.raises(MigrationError, match="0001_one was changed"):
        await migrate(empty_database, (changed, TWO))
    with pytest.raises(MigrationError, match="0001_one was changed"):
        await status(empty_database, (changed, TWO))


async def test_refuses_a_database_newer_than_itself(empty_database: str) -> None:
    await migrate(empty_database, (ONE, TWO))
    with pytest.raises(MigrationError, match="0002_two, which this release does not know"):
        await migrate(empty_database, (ONE,))


async def test_a_migration_that_fails_leaves_nothing(empty_database: str) -> None:
    broken = TWO._replace(sql="CREATE TABLE half (a int); SELECT nothing FROM nowhere")
    with pytest.raises(MigrationError, match="0002_two failed"):
        await migrate(empty_database, (ONE, broken))
    assert await status(empty_database, (ONE, TWO)) == (("0001_one",), ("0002_two",))
    async with await psycopg.AsyncConnection.connect(empty_database) as connection:
        cursor = await connection.execute("SELECT to_regclass('half')")
        assert await cursor.fetchone() == (None,)


async def test_status_changes_nothing(empty_database: str) -> None:
    assert await status(empty_database, (ONE,)) == ((), ("0001_one",))
    async with await psycopg.AsyncConnection.connect(empty_database) as connection:
        cursor = await connection.execute("SELECT to_regclass('auth_migration')")
        assert await cursor.fetchone() == (None,)


async def test_says_when_there_is_no_database() -> None:
    nowhere = "host=127.0.0.1 port=1 connect_timeout=2"
    with pytest.raises(StoresUnavailable):
        await migrate(nowhere)
    with pytest.raises(StoresUnavailable):
        await status(nowhere)
