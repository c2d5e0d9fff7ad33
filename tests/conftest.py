"""Fixtures every part may use: real PostgreSQL and Valkey, an empty database, an own prefix."""

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import psycopg
import pytest
import redis.asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sidecar.embedded import EmbeddedStack
from sidecar.settings.schema import Postgres, Redis
from sidecar.store.migrate import migrate
from sidecar.store.pool import Pool
from tests.servers import DEBIAN_REDIS, redis_running, running

# How long an example takes says how busy the machine is, and nothing about the product.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

_numbers = itertools.count(1)
_MIGRATED = "template_migrated"


@contextmanager
def _open_folder() -> Iterator[Path]:
    """A folder that another user can enter: as root, PostgreSQL has to run as somebody else.

    Not one of pytest's: the next pytest to start closes those above it to everybody else.
    """
    with tempfile.TemporaryDirectory(prefix="sidecar-tests-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="session")
def stack() -> Iterator[EmbeddedStack]:
    """Both servers, for the whole session of this worker."""
    with _open_folder() as folder, running(folder) as started:
        yield started


@pytest.fixture(scope="session")
def migrated(stack: EmbeddedStack) -> str:
    """Address of a database with the whole schema, to be copied and never written."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_MIGRATED}".encode())
    dsn = make_conninfo(stack.database_url, dbname=_MIGRATED)
    # In a loop of its own: a fixture of the session outlives the loop of a test.
    asyncio.run(migrate(dsn))
    return dsn


def _create(stack: EmbeddedStack, template: str) -> str:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return make_conninfo(stack.database_url, dbname=name)


def _drop(stack: EmbeddedStack, dsn: str) -> None:
    name = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.fixture
def empty_database(stack: EmbeddedStack) -> Iterator[str]:
    """Address of a database of this test alone, without a schema."""
    dsn = _create(stack, "template0")
    yield dsn
    _drop(stack, dsn)


@pytest.fixture
def database(stack: EmbeddedStack, migrated: str) -> Iterator[str]:
    """Address of a database of this test alone, with the schema."""
    dsn = _create(stack, str(conninfo_to_dict(migrated)["dbname"]))
    yield dsn
    _drop(stack, dsn)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """Connections to `database`."""
    async with Pool(Postgres(dsn=database)) as opened:
        yield opened


@pytest.fixture(scope="session")
def debian_redis() -> Iterator[str | None]:
    """Address of Debian's redis-server, where it is installed."""
    if DEBIAN_REDIS is None:
        yield None
        return
    with _open_folder() as folder, redis_running(folder, Path(DEBIAN_REDIS)) as server:
        yield server.url


@pytest.fixture(params=["valkey", "redis"])
def redis_url(
    request: pytest.FixtureRequest, stack: EmbeddedStack, debian_redis: str | None
) -> str:
    """Address of Valkey, then of Debian's redis-server: the oldest that is supported is 7.0."""
    if request.param == "valkey":
        return stack.redis_url
    if debian_redis is None:
        pytest.skip("no `redis-server` on PATH (Debian: apt-get install redis-server)")
    return debian_redis


@pytest.fixture
def redis_settings(redis_url: str) -> Redis:
    """Settings with a prefix of this test alone."""
    return Redis(url=redis_url, prefix=f"t{os.getpid()}-{next(_numbers)}")


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client, to look from outside."""
    client = redis.asyncio.Redis.from_url(redis_url, protocol=2)
    yield client
    await client.aclose()
