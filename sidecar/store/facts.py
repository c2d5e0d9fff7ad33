"""Reads the facts that decisions depend on, each in one round trip, or some dozens in one.

Long lists are decoded in slices: a hundred thousand grants at once would stop the loop for 20 ms.
"""

import asyncio
from collections.abc import Awaitable, Hashable, Sequence
from typing import Any, Final, TypeVar

import msgspec
import psycopg

from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import (
    Role,
    RoleGrant,
    RoleGraph,
    RuleGrant,
    Session,
    Status,
    User,
)
from sidecar.model.need import ABSENT, Absent, RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.store.pool import Pool

_SESSION: Final = """
SELECT version, id, tenant, subject,
       extract(epoch FROM expires_at)::float8, extract(epoch FROM revoked_at)::float8
"""
SESSION: Final = _SESSION + "FROM auth_session WHERE digest = %s"
SESSIONS: Final = _SESSION + ", digest FROM auth_session WHERE digest = ANY(%s)"

# Lists come as JSON text in the shape of the facts: one row, and one decoder that checks it.
# A grant that has expired may be missing already; what is still here is checked again later.
_USER: Final = """
SELECT greatest(u.version, t.version), u.status = 'active' AND t.status = 'active',
  (SELECT coalesce(json_agg(json_build_array(role, resource, extract(epoch FROM expires_at))
                            ORDER BY role, resource), '[]')::text
   FROM auth_role_grant AS g WHERE g.tenant = u.tenant AND g.subject = u.subject
     AND (expires_at IS NULL OR expires_at > now())),
  (SELECT coalesce(json_agg(json_build_array(json_build_array(effect, action, resource),
                                             extract(epoch FROM expires_at))
                            ORDER BY effect, action, resource), '[]')::text
   FROM auth_rule_grant AS g WHERE g.tenant = u.tenant AND g.subject = u.subject
     AND (expires_at IS NULL OR expires_at > now()))
"""
USER: Final = (
    _USER
    + """
FROM auth_user AS u JOIN auth_tenant AS t ON t.slug = u.tenant
WHERE u.tenant = %s AND u.subject = %s
"""
)
USERS: Final = (
    _USER
    + """, u.tenant, u.subject
FROM unnest(%s::text[], %s::text[]) AS asked(tenant, subject)
JOIN auth_user AS u ON u.tenant = asked.tenant AND u.subject = asked.subject
JOIN auth_tenant AS t ON t.slug = u.tenant
"""
)

_GRAPH: Final = """
SELECT greatest(t.roles_version, t.version), t.status = 'active',
  (SELECT coalesce(json_agg(json_build_array(r.name,
     (SELECT coalesce(json_agg(parent ORDER BY parent), '[]')
      FROM auth_role_parent AS p WHERE p.tenant = r.tenant AND p.role = r.name),
     (SELECT coalesce(json_agg(json_build_array(effect, action, resource)
                               ORDER BY effect, action, resource), '[]')
      FROM auth_role_rule AS u WHERE u.tenant = r.tenant AND u.role = r.name)
   ) ORDER BY r.name), '[]')::text
   FROM auth_role AS r WHERE r.tenant = t.slug)
"""
ROLES: Final = _GRAPH + "FROM auth_tenant AS t WHERE t.slug = %s"
GRAPHS: Final = _GRAPH + ", t.slug FROM auth_tenant AS t WHERE t.slug = ANY(%s)"

_role_grants: Final = msgspec.json.Decoder(tuple[RoleGrant, ...])
_rule_grants: Final = msgspec.json.Decoder(tuple[RuleGrant, ...])
_roles: Final = msgspec.json.Decoder(tuple[Role, ...])
# Finds where each element begins and ends: 2 ms for fifty thousand.
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw])

StoreFact = Session | User | RoleGraph
T = TypeVar("T")
# Characters of JSON that are decoded at once: about half a millisecond.
_AT_ONCE: Final = 131_072


class FactStore:
    """The primary: what it says is so.

    Args:
        pool: connections to the primary, never to a standby (`connection_settings` sees to it).
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        """The fact that `need` names, or `ABSENT`.

        Raises:
            StoresUnavailable: PostgreSQL could not be asked.
        """
        if isinstance(need, SessionNeed):
            rows = await self._pool.fetch(SESSION, (need.digest,))
        elif not _is_storable(need):
            return ABSENT
        elif isinstance(need, UserNeed):
            rows = await self._pool.fetch(USER, (need.tenant, need.subject))
        else:
            rows = await self._pool.fetch(ROLES, (need.tenant,))
        return await _fact(need, rows)

    async def read_many(self, needs: Sequence[StoreNeed]) -> list[StoreFact | Absent | Exception]:
        """The facts that some dozens of needs name, in their order, with one query for each kind.

        What fails without PostgreSQL being away is read once more, each alone: one that cannot be
        read does not fail its neighbours. Those that failed have their error in their place.

        Raises:
            StoresUnavailable: PostgreSQL could not be asked.
        """
        try:
            found = await self._rows(needs)
        except StoresUnavailable as error:
            if isinstance(error.__cause__, psycopg.OperationalError | OSError):
                raise
            return [await _or_error(self.read(need)) for need in needs]
        return [await _or_error(_fact(need, found.get(_key(need), []))) for need in needs]

    async def _rows(self, needs: Sequence[StoreNeed]) -> dict[Hashable, list[tuple[Any, ...]]]:
        """The rows of each need by its `_key`, without the columns of the key."""
        sessions = [need.digest for need in needs if isinstance(need, SessionNeed)]
        users = [need for need in needs if isinstance(need, UserNeed) and _is_storable(need)]
        tenants = [
            need.tenant for need in needs if isinstance(need, RolesNeed) and _is_storable(need)
        ]
        found: dict[Hashable, list[tuple[Any, ...]]] = {}
        if sessions:
            for *row, digest in await self._pool.fetch(SESSIONS, (sessions,)):
                found[bytes(digest)] = [tuple(row)]
        if users:
            asked = ([need.tenant for need in users], [need.subject for need in users])
            for *row, tenant, subject in await self._pool.fetch(USERS, asked):
                found[tenant, subject] = [tuple(row)]
        if tenants:
            for *row, tenant in await self._pool.fetch(GRAPHS, (tenants,)):
                found[tenant] = [tuple(row)]
        return found


def _key(need: StoreNeed) -> Hashable:
    """What the rows of a need are told by, in an answer for many."""
    if isinstance(need, SessionNeed):
        return need.digest
    return need.tenant if isinstance(need, RolesNeed) else (need.tenant, need.subject)


async def _fact(need: StoreNeed, rows: list[tuple[Any, ...]]) -> StoreFact | Absent:
    match need:
        case SessionNeed(shard=shard):
            return _session(rows, shard)
        case UserNeed():
            return await _user(rows, need)
        case RolesNeed(tenant=tenant):
            return await _graph(rows, tenant)


async def _or_error(read: Awaitable[StoreFact | Absent]) -> StoreFact | Absent | Exception:
    try:
        return await read
    except Exception as error:  # noqa: BLE001  it belongs to those who wait for this need
        return error


def _is_storable(need: UserNeed | RolesNeed) -> bool:
    return _storable(need.tenant) and (isinstance(need, RolesNeed) or _storable(need.subject))


def _storable(name: str) -> bool:
    """Whether PostgreSQL could hold `name`: names in tokens may hold NUL or lone surrogates."""
    return "\0" not in name and not any("\ud800" <= character <= "\udfff" for character in name)


def _session(rows: list[tuple[Any, ...]], shard: int) -> Session | Absent:
    if not rows:
        return ABSENT
    version, identifier, tenant, subject, expires_at, revoked_at = rows[0]
    # A token that names another shard than its session's would not hear of its revocation.
    if shard_of(tenant) != shard:
        return ABSENT
    return Session(
        version=version,
        id=identifier,
        tenant=tenant,
        subject=subject,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


async def decode_grants(text: str) -> tuple[RoleGrant, ...]:
    """Role grants from JSON."""
    return await _decoded(_role_grants, text)


async def decode_rules(text: str) -> tuple[RuleGrant, ...]:
    """Rules granted, from JSON."""
    return await _decoded(_rule_grants, text)


async def decode_roles(text: str) -> tuple[Role, ...]:
    """Roles from JSON."""
    return await _decoded(_roles, text)


async def _decoded(decoder: msgspec.json.Decoder[tuple[T, ...]], text: str) -> tuple[T, ...]:
    """`text`, a list, decoded in slices."""
    if len(text) <= _AT_ONCE:
        return decoder.decode(text)
    found: list[T] = []
    waiting: list[msgspec.Raw] = []
    size = 0
    for element in _elements.decode(text):
        waiting.append(element)
        size += len(bytes(element))
        if size >= _AT_ONCE:
            found += decoder.decode(b"[" + b",".join(waiting) + b"]")
            waiting, size = [], 0
            await asyncio.sleep(0)
    found += decoder.decode(b"[" + b",".join(waiting) + b"]")
    return tuple(found)


async def _user(rows: list[tuple[Any, ...]], need: UserNeed) -> User | Absent:
    if not rows:
        return ABSENT
    version, active, roles, rules = rows[0]
    return User(
        version=version,
        tenant=need.tenant,
        subject=need.subject,
        status=Status.ACTIVE if active else Status.DISABLED,
        roles=await decode_grants(roles),
        rules=await decode_rules(rules),
    )


async def _graph(rows: list[tuple[Any, ...]], tenant: str) -> RoleGraph | Absent:
    if not rows:
        return ABSENT
    version, active, roles = rows[0]
    return RoleGraph(
        version=version,
        tenant=tenant,
        roles=await decode_roles(roles),
        status=Status.ACTIVE if active else Status.DISABLED,
    )
