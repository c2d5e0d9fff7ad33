"""`sidecar doctor` before real servers: well, forbidding, silent, replicated."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sidecar.cli import doctor_findings, doctor_postgres, doctor_redis
from sidecar.cli.doctor_findings import Finding, State
from sidecar.settings.schema import Postgres, Redis
from tests.conftest import _open_folder
from tests.servers import Proxy, redis_running


def bad(found: list[Finding]) -> list[str]:
    """What is not ok, as ``state: message``."""
    return [f"{each.state}: {each.message}" for each in found if each.state is not State.OK]


# PostgreSQL.


async def test_a_database_that_is_well(database: str) -> None:
    found = await doctor_postgres.look(Postgres(dsn=database))
    assert len(found) == 7
    # The tests' server is fast rather than durable.
    assert [text for text in bad(found) if "fsync" not in text] == []
    assert "notifications arrive" in found[4].message


async def test_a_database_without_the_schema(empty_database: str) -> None:
    found = await doctor_postgres.look(Postgres(dsn=empty_database))
    [missing] = [each for each in found if "the schema lacks" in each.message]
    assert (missing.state, "0001_schema" in missing.message) == (State.PROBLEM, True)
    assert "sidecar migrate" in missing.advice


async def test_a_role_that_may_only_read(database: str) -> None:
    name = f"reader_{conninfo_to_dict(database)['dbname']}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hunter2'".encode())
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}".encode())
    try:
        dsn = make_conninfo(database, user=name, password="hunter2")
        found = await doctor_postgres.look(Postgres(dsn=dsn))
        [lacking] = [each for each in found if "may not read and write" in each.message]
        assert lacking.state is State.PROBLEM
        assert "auth_session" in lacking.message
        assert name in lacking.advice
        assert "hunter2" not in str(found)
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())


async def test_a_database_that_says_nothing(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_postgres, "CHECK_SECONDS", 0.1)
    with Proxy(int(str(conninfo_to_dict(database)["port"]))) as proxy:
        proxy.freeze()
        dsn = make_conninfo(database, port=proxy.port, host="127.0.0.1")
        [found] = await doctor_postgres.look(Postgres(dsn=dsn))
    assert (found.state, "no answer" in found.message) == (State.PROBLEM, True)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"password": "wrong"}, "mend user or password"),
        ({"dbname": "nothing"}, "create the database"),
        ({"port": "9"}, "start PostgreSQL"),
    ],
)
async def test_a_wrong_address(database: str, changed: dict[str, str], part: str) -> None:
    dsn = make_conninfo(database, **{"host": "127.0.0.1", **changed})
    [found] = await doctor_postgres.look(Postgres(dsn=dsn))
    assert (found.state, part in found.advice) == (State.PROBLEM, True)


# Redis.


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """A client that may do everything."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


async def test_a_redis_that_is_well(redis_settings: Redis) -> None:
    found = await doctor_redis.look(redis_settings)
    assert len(found) == 8
    assert bad(found) == []
    assert any("news arrive (PUBLISH" in each.message for each in found)


async def test_nothing_stays_behind(redis_settings: Redis, admin: redis.Redis) -> None:
    await doctor_redis.look(redis_settings)
    left = list(admin.scan_iter(f"{redis_settings.prefix}:*"))
    assert all(0 < int(admin.pttl(key)) <= 1000 for key in left)


@pytest.mark.parametrize(
    ("forbidden", "part", "advice"),
    [
        ("-info", "INFO fails", "+info"),
        ("-evalsha", "refuses our scripts", "+eval"),
        ("resetchannels", "news do not arrive", "&"),
        ("-set", "refuses to write", "+@all"),
    ],
)
async def test_a_user_that_may_not_do_what_is_needed(
    redis_settings: Redis, admin: redis.Redis, forbidden: str, part: str, advice: str
) -> None:
    name = f"u-{redis_settings.prefix}"
    admin.execute_command("ACL", "SETUSER", name, "on", ">hunter2", "~*", "&*", "+@all", forbidden)  # type: ignore[no-untyped-call]  # redis-py gives no types here
    try:
        place = urlsplit(redis_settings.url)
        url = f"redis://{name}:hunter2@{place.hostname}:{place.port}"
        found = await doctor_redis.look(Redis(url=url, prefix=redis_settings.prefix))
    finally:
        admin.execute_command("ACL", "DELUSER", name)  # type: ignore[no-untyped-call]  # redis-py gives no types here
    wrong = [each for each in found if each.state is State.PROBLEM]
    assert [part in each.message and advice in each.advice for each in wrong] == [True]
    assert "hunter2" not in str(found)


async def test_a_redis_that_says_nothing(
    redis_settings: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_redis, "CHECK_SECONDS", 0.1)
    place = urlsplit(redis_settings.url)
    with Proxy(place.port or 0) as proxy:
        proxy.freeze()
        url = f"redis://:{place.password}@127.0.0.1:{proxy.port}"
        [found] = await doctor_redis.look(Redis(url=url))
    assert (found.state, "no answer in time" in found.message) == (State.PROBLEM, True)


async def test_a_redis_that_falls_silent_ends_its_checks(
    redis_settings: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_findings, "CHECK_SECONDS", 0.1)
    place = urlsplit(redis_settings.url)
    with Proxy(place.port or 0) as proxy:

        async def freeze(*_: object) -> list[Finding]:
            proxy.freeze()
            return []

        monkeypatch.setattr(doctor_redis, "_role", freeze)
        url = f"redis://:{place.password}@127.0.0.1:{proxy.port}"
        found = await doctor_redis.look(Redis(url=url))
    assert bad(found) == ["problem: writing: no answer within 0.1 s"]
    assert found[-1].state is State.PROBLEM


async def test_replicas_and_eviction() -> None:
    with (
        _open_folder() as one,
        _open_folder() as two,
        redis_running(Path(one)) as server,
        redis_running(Path(two)) as other,
    ):
        master, replica = redis.Redis.from_url(server.url), redis.Redis.from_url(other.url)
        place = urlsplit(server.url)
        replica.config_set("masterauth", place.password or "")
        replica.replicaof(place.hostname, place.port)
        master.config_set("maxmemory-policy", "allkeys-lru")
        async with asyncio.timeout(20):
            while replica.info("replication")["master_link_status"] != "up":
                await asyncio.sleep(0.02)
        found = bad(await doctor_redis.look(Redis(url=server.url)))
        assert ["evicts any key" in text for text in found] == [True, False]
        assert "without min-replicas-to-write" in found[1]
        assert found[1].startswith("problem")

        master.config_set("maxmemory-policy", "volatile-lru")
        master.config_set("min-replicas-to-write", "1")
        [late] = bad(await doctor_redis.look(Redis(url=server.url)))
        assert "min-replicas-max-lag 10" in late
        master.config_set("min-replicas-max-lag", "2")
        assert bad(await doctor_redis.look(Redis(url=server.url))) == []
        [shorter] = bad(await doctor_redis.look(Redis(url=server.url, isolation_seconds=3.9)))
        assert "isolation_seconds (3.9)" in shorter
        master.config_set("min-replicas-max-lag", "0")
        assert bad(await doctor_redis.look(Redis(url=server.url))) != []

        found = bad(await doctor_redis.look(Redis(url=other.url)))
        assert "is a replica" in found[0]
        assert "refuses to write" in found[1]
        master.close()
        replica.close()
