"""Users and what is granted to them: create, list, show, disable, enable, assign, grant."""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sidecar.model.change import Change
from sidecar.model.errors import NotFound
from sidecar.model.facts import Rule, Status
from sidecar.store.change import changing
from sidecar.store.pool import Pool

CREATE: Final = """
INSERT INTO auth_user (tenant, subject, name) VALUES (%s, %s, %s) RETURNING subject
"""
CREATE_OR_KEEP: Final = """
INSERT INTO auth_user (tenant, subject, name) VALUES (%s, %s, %s)
ON CONFLICT (tenant, subject) DO NOTHING RETURNING subject
"""
LIST: Final = """
SELECT tenant, subject, name, status, version FROM auth_user
WHERE tenant = %s AND subject > %s ORDER BY subject LIMIT %s
"""
SET_STATUS: Final = """
UPDATE auth_user SET status = %s WHERE tenant = %s AND subject = %s RETURNING subject
"""
DELETE: Final = "DELETE FROM auth_user WHERE tenant = %s AND subject = %s RETURNING subject"
ASSIGN: Final = """
INSERT INTO auth_role_grant (tenant, subject, role, resource, expires_at)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (tenant, subject, role, resource) DO UPDATE SET expires_at = excluded.expires_at
RETURNING role
"""
UNASSIGN: Final = """
DELETE FROM auth_role_grant
WHERE tenant = %s AND subject = %s AND role = %s AND resource = %s RETURNING role
"""
GRANT: Final = """
INSERT INTO auth_rule_grant (tenant, subject, effect, action, resource, expires_at)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (tenant, subject, effect, action, resource)
DO UPDATE SET expires_at = excluded.expires_at
RETURNING action
"""
REVOKE: Final = """
DELETE FROM auth_rule_grant
WHERE tenant = %s AND subject = %s AND effect = %s AND action = %s AND resource = %s
RETURNING action
"""


class UserRow(NamedTuple):
    """A user as it is stored."""

    tenant: str
    subject: str
    name: str
    status: str
    version: int


class Users:
    """The users. Each change returns what has to be published; empty when it changed nothing.

    All raise `StoresUnavailable` when the change was not committed.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(
        self, tenant: str, subject: str, name: str = "", *, exist_ok: bool = False
    ) -> tuple[Change, ...]:
        """Creates a user; with `exist_ok` leaves an existing one as it is.

        Raises:
            Refused: it exists.
            NotFound: the tenant does not.
            Invalid: `subject` has not the form of one.
        """
        query = CREATE_OR_KEEP if exist_ok else CREATE
        async with changing(self._pool, tenant) as change:
            await change.run(query, (tenant, subject, name))
        return change.changes

    async def list(self, tenant: str, after: str = "", limit: int = 1000) -> list[UserRow]:
        """The next `limit` users of `tenant` by name, after the name `after`."""
        rows = await self._pool.fetch(LIST, (tenant, after, limit))
        return [UserRow(*row) for row in rows]

    async def set_status(self, tenant: str, subject: str, status: Status) -> tuple[Change, ...]:
        """Enables or disables a user.

        Raises:
            NotFound: there is none.
        """
        async with changing(self._pool, tenant) as change:
            found = await change.run(SET_STATUS, (status.value, tenant, subject))
            _require(found, tenant, subject)
        return change.changes

    async def delete(self, tenant: str, subject: str) -> tuple[Change, ...]:
        """Deletes a user with all its grants and sessions.

        Raises:
            NotFound: there is none.
        """
        async with changing(self._pool, tenant) as change:
            _require(await change.run(DELETE, (tenant, subject)), tenant, subject)
        return change.changes

    async def assign(
        self,
        tenant: str,
        subject: str,
        role: str,
        resource: str = "*",
        expires_at: float | None = None,
    ) -> tuple[Change, ...]:
        """Assigns a role, on some resources only, until a wall-clock time; replaces its time.

        Raises:
            NotFound: the user or the role does not exist.
            Invalid: `resource` has not the form of one.
        """
        async with changing(self._pool, tenant) as change:
            await change.run(ASSIGN, (tenant, subject, role, resource, _time(expires_at)))
        return change.changes

    async def unassign(
        self, tenant: str, subject: str, role: str, resource: str = "*"
    ) -> tuple[Change, ...]:
        """Takes an assigned role back.

        Raises:
            NotFound: it was not assigned on this resource.
        """
        async with changing(self._pool, tenant) as change:
            if not await change.run(UNASSIGN, (tenant, subject, role, resource)):
                raise NotFound(f'"{subject}" does not hold the role "{role}" on "{resource}"')
        return change.changes

    async def grant(
        self, tenant: str, subject: str, rule: Rule, expires_at: float | None = None
    ) -> tuple[Change, ...]:
        """Grants a rule directly, until a wall-clock time; replaces its time.

        Raises:
            NotFound: the user does not exist.
            Invalid: action or resource have not the form of one.
        """
        async with changing(self._pool, tenant) as change:
            await change.run(GRANT, (*_key(tenant, subject, rule), _time(expires_at)))
        return change.changes

    async def revoke(self, tenant: str, subject: str, rule: Rule) -> tuple[Change, ...]:
        """Takes a directly granted rule back.

        Raises:
            NotFound: it was not granted.
        """
        async with changing(self._pool, tenant) as change:
            if not await change.run(REVOKE, _key(tenant, subject, rule)):
                raise NotFound(
                    f'"{subject}" was not granted {rule.effect} {rule.action} on {rule.resource}'
                )
        return change.changes


def _key(tenant: str, subject: str, rule: Rule) -> tuple[str, str, str, str, str]:
    return tenant, subject, rule.effect.value, rule.action, rule.resource


def _time(instant: float | None) -> datetime | None:
    return None if instant is None else datetime.fromtimestamp(instant, UTC)


def _require(found: list[tuple[Any, ...]], tenant: str, subject: str) -> None:
    if not found:
        raise NotFound(f'there is no user "{subject}" in tenant "{tenant}"')
