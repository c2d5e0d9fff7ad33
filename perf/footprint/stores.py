"""Stores with users, roles and sessions, and a Redis that knows what siblings use most."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from perf.workload import PERMISSION, TENANT
from sidecar.authenticate.opaque import digest, mint, signing_key
from sidecar.model.facts import User
from sidecar.model.need import RolesNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Postgres, Redis
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.sync.publisher import Publisher
from sidecar.sync.redis_cache import RedisCache, open_client
from sidecar.sync.warming import encode_need

KEY = "not a secret: it is for a benchmark"
SESSIONS = 20_000
WARMED = 10_000
ROLES = 500
RULES = 80
SHARD = shard_of(TENANT)


def user_name(number: int) -> str:
    return f"user-{number:05}"


def token(number: int) -> str:
    """The session of a user."""
    return mint(SHARD, hashlib.sha256(b"%d" % number).digest(), signing_key(KEY))


def populate(dsn: str) -> None:
    """Each user holds one of the roles, and one session."""
    roles = [f"role-{number:03}" for number in range(ROLES)]
    until = datetime.fromtimestamp(time.time() + 86_400, UTC)
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO auth_tenant (slug) VALUES (%s)", [TENANT])
        _copy(cursor, "auth_role (tenant, name)", [(TENANT, role) for role in roles])
        _copy(
            cursor,
            "auth_role_rule (tenant, role, effect, action, resource)",
            [(TENANT, role, "allow", PERMISSION, "*") for role in roles]
            + [
                (TENANT, role, "allow", f"{role}:action-{n}", "*")
                for role in roles
                for n in range(RULES - 1)
            ],
        )
        names = [user_name(number) for number in range(SESSIONS)]
        _copy(cursor, "auth_user (tenant, subject)", [(TENANT, name) for name in names])
        _copy(
            cursor,
            "auth_role_grant (tenant, subject, role, resource)",
            [(TENANT, name, roles[at % ROLES], "*") for at, name in enumerate(names)],
        )
        _copy(
            cursor,
            "auth_session (digest, id, tenant, subject, expires_at)",
            [
                (digest(token(at)), f"session-{at:05}", TENANT, name, until)
                for at, name in enumerate(names)
            ],
        )


def _copy(
    cursor: psycopg.Cursor[tuple[object, ...]], into: str, rows: Sequence[tuple[object, ...]]
) -> None:
    with cursor.copy(f"COPY {into} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)


async def make_favourites(dsn: str, settings: Redis) -> None:
    """Redis holds the first users and says that they are used most."""
    client = open_client(settings)
    cache = RedisCache(client, settings.prefix, 600, 10.0)
    async with Pool(Postgres(dsn=dsn)) as pool:
        await Publisher(cache, Outbox(pool)).catch_up()
        graph = await FactStore(pool).read(RolesNeed(TENANT))
        head = (await cache.look(RolesNeed(TENANT))).head
        assert head is not None
        assert not isinstance(graph, User)
        needs = [UserNeed(TENANT, user_name(number)) for number in range(WARMED)]
        # No more at once than there are connections.
        for begin in range(0, WARMED, 4):
            await asyncio.gather(*(_fill(cache, pool, need) for need in needs[begin : begin + 4]))
        for _ in range(3):
            await cache.note_used({SHARD: [encode_need(need) for need in needs]})
    await client.aclose()


async def _fill(cache: RedisCache, pool: Pool, need: UserNeed) -> None:
    head = (await cache.look(need)).head
    found = await FactStore(pool).read(need)
    assert head is not None
    assert isinstance(found, User)
    await cache.fill(need, found, head)
