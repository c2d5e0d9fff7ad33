"""Applies the SQL files of `migrations/` in order, each once, each in a transaction."""

from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

import psycopg

from sidecar.model.errors import MigrationError, StoresUnavailable
from sidecar.store.pool import Connection, describe

# Any constant will do; it must differ from that of the relay.
_LOCK: Final = 0x5CA1_0001
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS auth_migration (
  number integer PRIMARY KEY,
  name text NOT NULL,
  checksum text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class Migration(NamedTuple):
    """A step of the schema: its number, the name of its file, its SQL."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL, hexadecimal."""
        return sha256(self.sql.encode()).hexdigest()


class Status(NamedTuple):
    """Which migrations a database has, and which it lacks, by name."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]


def available() -> tuple[Migration, ...]:
    """The migrations of this release, in order."""
    folder = files("sidecar.store") / "migrations"
    found = [
        Migration(int(file.name.partition("_")[0]), file.name.removesuffix(".sql"), text)
        for file in folder.iterdir()
        if file.name.endswith(".sql")
        for text in [file.read_text("utf-8")]
    ]
    return tuple(sorted(found))


async def migrate(dsn: str, migrations: tuple[Migration, ...] | None = None) -> tuple[str, ...]:
    """Applies what is missing and returns the names. Several may run at once: one works.

    Raises:
        MigrationError: an applied migration was changed since, is unknown here, or fails.
        StoresUnavailable: the database cannot be reached.
    """
    wanted = available() if migrations is None else migrations
    applied: list[str] = []
    try:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            while step := await _apply_next(connection, wanted):
                applied.append(step)
    except psycopg.OperationalError as error:
        raise StoresUnavailable(describe(error)) from error
    return tuple(applied)


async def status(dsn: str, migrations: tuple[Migration, ...] | None = None) -> Status:
    """What `migrate` would find; changes nothing.

    Raises:
        MigrationError: as `migrate`.
        StoresUnavailable: the database cannot be reached.
    """
    wanted = available() if migrations is None else migrations
    try:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            exists = await connection.execute("SELECT to_regclass('auth_migration') IS NOT NULL")
            row = await exists.fetchone()
            applied = await _applied(connection) if row is not None and row[0] else {}
    except psycopg.OperationalError as error:
        raise StoresUnavailable(describe(error)) from error
    missing = _pending(wanted, applied)
    return Status(
        tuple(step.name for step in wanted if step not in missing),
        tuple(step.name for step in missing),
    )


async def _apply_next(connection: Connection, wanted: tuple[Migration, ...]) -> str | None:
    # The lock ends with the transaction, so it also works through a transaction-pooling PgBouncer.
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(_TABLE)
        pending = _pending(wanted, await _applied(connection))
        if not pending:
            return None
        step = pending[0]
        try:
            await connection.execute(step.sql.encode())
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                raise
            raise MigrationError(f"migration {step.name} failed: {error}") from error
        await connection.execute(
            "INSERT INTO auth_migration (number, name, checksum) VALUES (%s, %s, %s)",
            (step.number, step.name, step.checksum),
        )
        return step.name


async def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    cursor = await connection.execute("SELECT number, name, checksum FROM auth_migration")
    return {number: (name, checksum) for number, name, checksum in await cursor.fetchall()}


def _pending(
    wanted: tuple[Migration, ...], applied: dict[int, tuple[str, str]]
) -> tuple[Migration, ...]:
    """What is still to be applied, after checking that what was applied is what we know."""
    known = {step.number: step for step in wanted}
    for number, (name, checksum) in sorted(applied.items()):
        step = known.get(number)
        if step is None:
            raise MigrationError(
                f"the database has migration {name}, which this release does not know: "
                "install the release that made it, or a newer one"
            )
        if step.checksum != checksum:
            raise MigrationError(
                f"migration {name} was changed after it had been applied: restore its file; "
                "changes of the schema go into a new migration"
            )
    return tuple(step for step in wanted if step.number not in applied)
