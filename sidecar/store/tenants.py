"""Tenants: create, list, disable, enable."""

from typing import Final, NamedTuple

from sidecar.model.change import Change
from sidecar.model.errors import NotFound
from sidecar.model.facts import Status
from sidecar.store.change import changing
from sidecar.store.pool import Pool

CREATE: Final = "INSERT INTO auth_tenant (slug, name) VALUES (%s, %s) RETURNING slug"
CREATE_OR_KEEP: Final = """
INSERT INTO auth_tenant (slug, name) VALUES (%s, %s) ON CONFLICT (slug) DO NOTHING RETURNING slug
"""
LIST: Final = "SELECT slug, name, shard, status, version FROM auth_tenant ORDER BY slug LIMIT %s"
KNOWN: Final = "SELECT 1 FROM auth_tenant WHERE slug = %s"
SET_STATUS: Final = "UPDATE auth_tenant SET status = %s WHERE slug = %s RETURNING slug"


class TenantRow(NamedTuple):
    """A tenant as it is stored."""

    slug: str
    name: str
    shard: int
    status: str
    version: int


class Tenants:
    """The tenants. Each change returns what has to be published; empty when it changed nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(
        self, slug: str, name: str = "", *, exist_ok: bool = False
    ) -> tuple[Change, ...]:
        """Creates the tenant `slug`; with `exist_ok` leaves an existing one as it is.

        Raises:
            Refused: it exists.
            Invalid: `slug` has not the form of one.
            StoresUnavailable: it was not committed.
        """
        async with changing(self._pool, slug) as change:
            await change.run(CREATE_OR_KEEP if exist_ok else CREATE, (slug, name))
        return change.changes

    async def exists(self, slug: str) -> bool:
        """Whether there is a tenant `slug`.

        Raises:
            StoresUnavailable: PostgreSQL could not be asked.
        """
        return bool(await self._pool.fetch(KNOWN, (slug,)))

    async def list(self, limit: int = 1000) -> list[TenantRow]:
        """The first `limit` tenants by name.

        Raises:
            StoresUnavailable: PostgreSQL could not be asked.
        """
        return [TenantRow(*row) for row in await self._pool.fetch(LIST, (limit,))]

    async def set_status(self, slug: str, status: Status) -> tuple[Change, ...]:
        """Enables or disables the tenant, and with it all its users.

        Raises:
            NotFound: there is none.
            StoresUnavailable: it was not committed.
        """
        async with changing(self._pool, slug) as change:
            if not await change.run(SET_STATUS, (status.value, slug)):
                raise NotFound(f'there is no tenant "{slug}"')
        return change.changes
