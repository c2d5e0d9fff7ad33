"""Sessions: store the digest of a token, list, revoke."""

from typing import Final, NamedTuple

from sidecar.model.change import Change
from sidecar.model.errors import NotFound, Refused
from sidecar.store.change import changing
from sidecar.store.pool import Pool

# One statement, no sequence: nobody can depend on a session that did not exist (SYNC.md, "Truth").
CREATE: Final = """
WITH holder AS (
  SELECT u.tenant, u.subject, u.status = 'active' AND t.status = 'active' AS active
  FROM auth_user AS u JOIN auth_tenant AS t ON t.slug = u.tenant
  WHERE u.tenant = %(tenant)s AND u.subject = %(subject)s
), made AS (
  INSERT INTO auth_session (digest, id, tenant, subject, expires_at)
  SELECT %(digest)s, %(id)s, tenant, subject, to_timestamp(%(expires_at)s)
  FROM holder WHERE active
  RETURNING id
)
SELECT active FROM holder
"""
LIST: Final = """
SELECT id, tenant, subject, extract(epoch FROM created_at)::float8,
       extract(epoch FROM expires_at)::float8, extract(epoch FROM revoked_at)::float8
FROM auth_session WHERE tenant = %s AND (%s::text IS NULL OR subject = %s)
ORDER BY tenant, subject, created_at LIMIT %s
"""
REVOKE: Final = """
UPDATE auth_session SET revoked_at = coalesce(revoked_at, now())
WHERE id = %s AND tenant = %s RETURNING id
"""
REVOKE_ALL: Final = """
UPDATE auth_session SET revoked_at = now()
WHERE tenant = %s AND subject = %s AND revoked_at IS NULL AND expires_at > now() RETURNING id
"""
KNOWN: Final = "SELECT 1 FROM auth_user WHERE tenant = %s AND subject = %s"


class SessionRow(NamedTuple):
    """A session as it is stored, without its digest. Times are wall-clock seconds."""

    id: str
    tenant: str
    subject: str
    created_at: float
    expires_at: float
    revoked_at: float | None


class Revoked(NamedTuple):
    """How many sessions a call found or ended, and what has to be published."""

    ended: int
    changes: tuple[Change, ...]


class SessionRows:
    """The sessions of all users. All raise `StoresUnavailable` when nothing was committed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(
        self, digest: bytes, identifier: str, tenant: str, subject: str, expires_at: float
    ) -> None:
        """Stores a session until the wall-clock instant `expires_at`.

        Raises:
            NotFound: there is no such user.
            Refused: the user or the tenant is disabled.
        """
        values = {
            "digest": digest,
            "id": identifier,
            "tenant": tenant,
            "subject": subject,
            "expires_at": expires_at,
        }
        async with self._pool.transaction() as connection:
            cursor = await connection.execute(CREATE.encode(), values)
            found = await cursor.fetchone()
        if found is None:
            raise NotFound(f'there is no user "{subject}" in tenant "{tenant}"')
        if not found[0]:
            raise Refused(f'"{subject}" or its tenant is disabled: enable it first')

    async def list(
        self, tenant: str, subject: str | None = None, limit: int = 1000
    ) -> list[SessionRow]:
        """The first `limit` sessions of `tenant`, or of one of its users, oldest first."""
        rows = await self._pool.fetch(LIST, (tenant, subject, subject, limit))
        return [SessionRow(*row) for row in rows]

    async def revoke(self, tenant: str, identifier: str) -> Revoked:
        """Revokes one session by its public id; revoking it again changes nothing.

        Raises:
            NotFound: there is none.
        """
        async with changing(self._pool, tenant) as change:
            if not await change.run(REVOKE, (identifier, tenant)):
                raise NotFound(f'there is no session "{identifier}" in tenant "{tenant}"')
        return Revoked(1, change.changes)

    async def revoke_all(self, tenant: str, subject: str) -> Revoked:
        """Revokes all sessions of a user that have not ended.

        Raises:
            NotFound: there is no such user.
        """
        async with changing(self._pool, tenant) as change:
            ended = await change.run(REVOKE_ALL, (tenant, subject))
            if not ended and not await change.run(KNOWN, (tenant, subject)):
                raise NotFound(f'there is no user "{subject}" in tenant "{tenant}"')
        return Revoked(len(ended), change.changes)
