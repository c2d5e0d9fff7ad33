"""One transaction that changes something, and what it tells the sidecars."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg

from sidecar.model.change import Change, ChangeKind
from sidecar.model.errors import Invalid, NotFound, Refused
from sidecar.model.shard import shard_of
from sidecar.store.pool import Connection, Pool

LOCK: Final = "SELECT seq FROM auth_shard WHERE shard = %s FOR UPDATE"
SINCE: Final = """
SELECT shard, seq, kind, tenant, subject, version, payload
FROM auth_outbox WHERE shard = %s AND seq > %s ORDER BY seq
"""

_NO_TENANT: Final = "no such tenant: create it with `sidecar admin tenant create`"
_NO_ROLE: Final = "no such role: create it with `sidecar admin role create`"
_NO_USER: Final = "no such user: create it with `sidecar admin user create`"
_ACTION: Final = "an action has 1 to 255 characters without blanks"
_RESOURCE: Final = "a resource has 1 to 1024 characters, no control characters"
_SLUG: Final = (
    "a tenant's name has 1 to 63 of a-z 0-9 . _ - and begins and ends with a letter or digit"
)
_SUBJECT: Final = (
    "a user's name has 1 to 255 characters, no control characters, no blanks around it"
)

# Name of a constraint -> the error and its sentence. The rest is a bug and stays an exception.
_BROKEN: Final[dict[str, tuple[type[NotFound | Refused | Invalid], str]]] = {
    "auth_tenant_pkey": (Refused, "a tenant of that name exists already"),
    "auth_user_pkey": (Refused, "a user of that name exists already"),
    "auth_role_pkey": (Refused, "a role of that name exists already"),
    "auth_role_parent_acyclic": (
        Refused,
        "a role cannot inherit itself, not through others either",
    ),
    "auth_user_tenant_fkey": (NotFound, _NO_TENANT),
    "auth_role_tenant_fkey": (NotFound, _NO_TENANT),
    "auth_role_parent_role": (NotFound, _NO_ROLE),
    "auth_role_parent_parent": (NotFound, "no such parent role: create it first"),
    "auth_role_rule_role": (NotFound, _NO_ROLE),
    "auth_role_grant_user": (NotFound, _NO_USER),
    "auth_role_grant_role": (NotFound, _NO_ROLE),
    "auth_rule_grant_user": (NotFound, _NO_USER),
    "auth_tenant_slug": (Invalid, _SLUG),
    "auth_user_subject": (Invalid, _SUBJECT),
    "auth_role_name": (Invalid, "a role's name has 1 to 100 of A-Z a-z 0-9 . _ : / -"),
    "auth_role_rule_action": (Invalid, _ACTION),
    "auth_rule_grant_action": (Invalid, _ACTION),
    "auth_role_rule_resource": (Invalid, _RESOURCE),
    "auth_rule_grant_resource": (Invalid, _RESOURCE),
    "auth_role_grant_resource": (Invalid, _RESOURCE),
}


class Changing:
    """A transaction in progress; after the block `changes` says what has to be published.

    Attributes:
        connection: to run statements on.
        changes: the rows of the outbox it wrote, in order; filled at the end.
    """

    __slots__ = ("changes", "connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.changes: tuple[Change, ...] = ()

    async def run(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Runs one statement that returns rows."""
        cursor = await self.connection.execute(query.encode(), parameters)
        return await cursor.fetchall()


@asynccontextmanager
async def changing(pool: Pool, tenant: str) -> AsyncIterator[Changing]:
    """A transaction over `tenant`: locks its shard first, so that two of them cannot deadlock.

    Raises:
        StoresUnavailable: it was not committed, or nobody can tell.
        NotFound, Refused, Invalid: it was refused, and nothing was changed.
    """
    shard = shard_of(tenant)
    try:
        async with pool.transaction() as connection:
            change = Changing(connection)
            [(before,)] = await change.run(LOCK, (shard,))
            yield change
            rows = await change.run(SINCE, (shard, before))
    except psycopg.IntegrityError as error:
        raise _translated(error) from error
    except (psycopg.DataError, UnicodeEncodeError) as error:
        raise Invalid("a name holds characters that cannot be stored") from error
    change.changes = changes_of(rows)


def changes_of(rows: list[tuple[Any, ...]]) -> tuple[Change, ...]:
    """Rows of the outbox, with the columns of `SINCE`, as changes."""
    return tuple(
        Change(shard, seq, _kind(kind), tenant, subject, version, bytes(payload))
        for shard, seq, kind, tenant, subject, version, payload in rows
    )


def _kind(written: str) -> ChangeKind:
    """The kind; one that only a newer release knows is made up for by forgetting everything."""
    try:
        return ChangeKind(written)
    except ValueError:
        return ChangeKind.FLUSH


def _translated(error: psycopg.IntegrityError) -> Exception:
    broken = _BROKEN.get(error.diag.constraint_name or "")
    return error if broken is None else broken[0](broken[1])
