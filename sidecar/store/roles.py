"""Roles, what they inherit and what they permit."""

from typing import Final

from sidecar.model.change import Change
from sidecar.model.errors import NotFound
from sidecar.model.facts import Rule
from sidecar.store.change import changing
from sidecar.store.pool import Pool

CREATE: Final = "INSERT INTO auth_role (tenant, name) VALUES (%s, %s) RETURNING name"
CREATE_OR_KEEP: Final = """
INSERT INTO auth_role (tenant, name) VALUES (%s, %s)
ON CONFLICT (tenant, name) DO NOTHING RETURNING name
"""
DELETE: Final = "DELETE FROM auth_role WHERE tenant = %s AND name = %s RETURNING name"
INHERIT: Final = """
INSERT INTO auth_role_parent (tenant, role, parent) VALUES (%s, %s, %s)
ON CONFLICT (tenant, role, parent) DO NOTHING RETURNING parent
"""
DISINHERIT: Final = """
DELETE FROM auth_role_parent WHERE tenant = %s AND role = %s AND parent = %s RETURNING parent
"""
ADD_RULE: Final = """
INSERT INTO auth_role_rule (tenant, role, effect, action, resource) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (tenant, role, effect, action, resource) DO NOTHING RETURNING action
"""
REMOVE_RULE: Final = """
DELETE FROM auth_role_rule
WHERE tenant = %s AND role = %s AND effect = %s AND action = %s AND resource = %s
RETURNING action
"""


class Roles:
    """The roles. Each change returns what has to be published; empty when it changed nothing.

    Reading them is `FactStore.read(RolesNeed(tenant))`. All raise `StoresUnavailable` when the
    change was not committed.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, tenant: str, name: str, *, exist_ok: bool = False) -> tuple[Change, ...]:
        """Creates a role without rules; with `exist_ok` leaves an existing one as it is.

        Raises:
            Refused: it exists.
            NotFound: the tenant does not.
            Invalid: `name` has not the form of one.
        """
        async with changing(self._pool, tenant) as change:
            await change.run(CREATE_OR_KEEP if exist_ok else CREATE, (tenant, name))
        return change.changes

    async def delete(self, tenant: str, name: str) -> tuple[Change, ...]:
        """Deletes a role; who held it no longer does.

        Raises:
            NotFound: there is none.
        """
        return await self._remove(tenant, DELETE, (tenant, name), f'there is no role "{name}"')

    async def inherit(self, tenant: str, role: str, parent: str) -> tuple[Change, ...]:
        """Lets `role` have all rules of `parent`.

        Raises:
            Refused: `parent` inherits `role` already.
            NotFound: one of them does not exist.
        """
        return await self._add(tenant, INHERIT, (tenant, role, parent))

    async def disinherit(self, tenant: str, role: str, parent: str) -> tuple[Change, ...]:
        """Ends `inherit`.

        Raises:
            NotFound: `role` does not inherit `parent` directly.
        """
        missing = f'"{role}" does not inherit "{parent}"'
        return await self._remove(tenant, DISINHERIT, (tenant, role, parent), missing)

    async def add_rule(self, tenant: str, role: str, rule: Rule) -> tuple[Change, ...]:
        """Adds a statement to a role.

        Raises:
            NotFound: the role does not exist.
            Invalid: action or resource have not the form of one.
        """
        return await self._add(tenant, ADD_RULE, _key(tenant, role, rule))

    async def remove_rule(self, tenant: str, role: str, rule: Rule) -> tuple[Change, ...]:
        """Takes a statement out of a role.

        Raises:
            NotFound: the role has no such rule of its own.
        """
        missing = f'"{role}" has no rule {rule.effect} {rule.action} on {rule.resource} of its own'
        return await self._remove(tenant, REMOVE_RULE, _key(tenant, role, rule), missing)

    async def _add(
        self, tenant: str, query: str, parameters: tuple[str, ...]
    ) -> tuple[Change, ...]:
        async with changing(self._pool, tenant) as change:
            await change.run(query, parameters)
        return change.changes

    async def _remove(
        self, tenant: str, query: str, parameters: tuple[str, ...], missing: str
    ) -> tuple[Change, ...]:
        async with changing(self._pool, tenant) as change:
            if not await change.run(query, parameters):
                raise NotFound(missing)
        return change.changes


def _key(tenant: str, role: str, rule: Rule) -> tuple[str, str, str, str, str]:
    return tenant, role, rule.effect.value, rule.action, rule.resource
