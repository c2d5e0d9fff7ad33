"""PostgreSQL as `sidecar doctor` seldom meets it; tests/integration has the usual one."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from sidecar.cli import doctor_postgres
from sidecar.cli.doctor_findings import State


class Cursor:
    def __init__(self, row: tuple[Any, ...]) -> None:
        self._row = row

    async def fetchone(self) -> tuple[Any, ...]:
        return self._row


class Info:
    """What libpq knows of a connection."""

    backend_pid = 7
    host, port, dbname, user = "db", 5432, "sidecar", "app"

    def __init__(self, version: int = 180_006) -> None:
        self.server_version = version


class Connection:
    """Answers each query with the same row, and hears no notification."""

    def __init__(self, *row: Any, version: int = 180_006) -> None:
        self._row = row
        self.info = Info(version)

    async def execute(self, _query: bytes) -> Cursor:
        return Cursor(self._row)

    async def notifies(self, **_: Any) -> AsyncIterator[str]:
        heard: tuple[str, ...] = ()
        for each in heard:
            yield each

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("version", "state"),
    [(120_022, State.PROBLEM), (130_023, State.WARNING), (140_001, State.OK)],
)
async def test_postgresql_versions(version: int, state: State) -> None:
    [found] = await doctor_postgres._reach(Connection(version=version), 0.0)  # type: ignore[arg-type]  # as far as it is used
    assert found.state is state


@pytest.mark.parametrize(
    ("row", "state", "part"),
    [
        (("on", "on", "", 0), State.OK, "no standby"),
        (("on", "on", "s1", 1), State.OK, "synchronous (s1)"),
        (("off", "on", "", 0), State.WARNING, "fsync is off"),
        (("on", "off", "", 0), State.WARNING, "synchronous_commit is off"),
        (("on", "on", "", 2), State.WARNING, "2 standby(s), none synchronous"),
        (("on", "local", "s1", 1), State.WARNING, "standbys may lack"),
    ],
)
async def test_durability(row: tuple[Any, ...], state: State, part: str) -> None:
    [found] = await doctor_postgres._durability(Connection(*row))  # type: ignore[arg-type]  # as far as it is used
    assert found.state is state
    assert part in found.message


@pytest.mark.parametrize(
    ("skew", "state", "part"),
    [
        (0.2, State.OK, "ahead"),
        (-3.0, State.WARNING, "3.00 s behind"),
        (60.0, State.PROBLEM, "60.00 s ahead"),
    ],
)
async def test_clocks(
    skew: float, state: State, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_postgres, "wall", lambda: 1000.0)
    [found] = await doctor_postgres._clock(Connection(1000.0 + skew))  # type: ignore[arg-type]  # as far as it is used
    assert found.state is state
    assert part in found.message


async def test_a_standby_is_a_problem() -> None:
    [found] = await doctor_postgres._primary(Connection(True))  # type: ignore[arg-type]  # as far as it is used
    assert (found.state, "standby behind a pooler" in found.message) == (State.PROBLEM, True)


@pytest.mark.parametrize(("process", "part"), [(8, "pooler in transaction mode"), (7, "nobody")])
async def test_notifications_that_do_not_arrive_are_a_problem(
    process: int, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection(process)

    async def connect(*_: Any, **__: Any) -> Connection:
        return connection

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    [found] = await doctor_postgres._notifications(connection, "")  # type: ignore[arg-type]  # as far as it is used
    assert (found.state, part in found.message) == (State.PROBLEM, True)


async def test_a_pooler_that_passes_notifications_on_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hearing(Connection):
        async def notifies(self, **_: Any) -> AsyncIterator[str]:
            yield "heard"

    async def connect(*_: Any, **__: Any) -> Connection:
        return Hearing(8)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    [found] = await doctor_postgres._notifications(Hearing(8), "")  # type: ignore[arg-type]  # as far as it is used
    assert (found.state, "pooler" in found.message) == (State.WARNING, True)
