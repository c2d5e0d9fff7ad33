"""The demo tenant in the stores: four users, the roles they hold, a session for each."""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Final

from sidecar.accounts import Sessions
from sidecar.authenticate import opaque
from sidecar.model.change import Change, Level
from sidecar.model.errors import Refused
from sidecar.model.facts import Effect, Rule, Session, Status
from sidecar.model.need import SessionNeed
from sidecar.model.shard import shard_of
from sidecar.store.facts import FactStore
from sidecar.store.pool import Pool
from sidecar.store.roles import Roles
from sidecar.store.sessions import SessionRows
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users

TENANT: Final = "demo"

# Role -> the roles it inherits, and the actions it allows. An auditor reads because every reader
# does; an admin may do everything.
ROLES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "reader": ((), ("orders:read",)),
    "auditor": (("reader",), ()),
    "clerk": ((), ("orders:read", "orders:create")),
    "admin": ((), ("*",)),
}
USERS: Final[dict[str, str]] = {
    "alice": "admin",
    "bob": "clerk",
    "carol": "auditor",
    "mallory": "admin",
}
# The last step of the first time.
DISABLED: Final = "mallory"
# A demonstration may rest for some weeks and be taken up again.
SESSION_SECONDS: Final = 30 * 86_400.0
# A stored token is used again when it lasts at least this long.
REST_SECONDS: Final = 86_400.0


async def prepare(pool: Pool, secret: str, stored: Mapping[str, str]) -> dict[str, str]:
    """Writes the tenant where it is missing or incomplete, and returns a token for each user.

    A tenant that is complete stays as it was left: who disables a user finds it so.

    Args:
        pool: connections to a migrated database.
        secret: the key that signs session tokens.
        stored: tokens by variable (`variable`) of an earlier run; those still good are kept.

    Raises:
        StoresUnavailable: it was not written.
    """
    users = Users(pool)
    rows = {row.subject: row for row in await users.list(TENANT)}
    complete = DISABLED in rows and rows[DISABLED].status == Status.DISABLED
    if not complete:
        await _seed(pool, users)
    tokens = {
        variable(name): await _token(pool, secret, name, stored.get(variable(name), ""))
        for name in USERS
    }
    if not complete:
        await users.set_status(TENANT, DISABLED, Status.DISABLED)
    return tokens


def variable(user: str) -> str:
    """The name of the variable that holds a user's token."""
    return f"{user.upper()}_TOKEN"


async def _seed(pool: Pool, users: Users) -> None:
    """Writes what is missing; each step may have been done before."""
    roles = Roles(pool)
    await Tenants(pool).create(TENANT, "Demo", exist_ok=True)
    for name, (parents, actions) in ROLES.items():
        await roles.create(TENANT, name, exist_ok=True)
        for parent in parents:
            await roles.inherit(TENANT, name, parent)
        for action in actions:
            await roles.add_rule(TENANT, name, Rule(Effect.ALLOW, action))
    for name, role in USERS.items():
        await users.create(TENANT, name, name.title(), exist_ok=True)
        await users.assign(TENANT, name, role)


async def _token(pool: Pool, secret: str, user: str, stored: str) -> str:
    """The stored token where it is still good or cannot be replaced, else a new one."""
    key, now = opaque.signing_key(secret), time.time()
    shard = shard_of(TENANT)
    if opaque.check(stored, key) == shard:
        session = await FactStore(pool).read(SessionNeed(opaque.digest(stored), shard))
        if isinstance(session, Session) and _is_good(session, user, now):
            return stored
    sessions = Sessions(SessionRows(pool), _committed, key, wall=time.time)
    try:
        return (await sessions.issue(TENANT, user, SESSION_SECONDS)).token
    except Refused:
        # A disabled user gets no session: any token is refused, also one that nobody knows.
        return stored or opaque.mint(shard, secrets.token_bytes(opaque.RANDOM_BYTES), key)


async def _committed(_: Sequence[Change]) -> Level:
    """Tells nobody: no sidecar runs yet, and the relay tells those that come."""
    return Level.COMMITTED


def _is_good(session: Session, user: str, now: float) -> bool:
    return (
        session.subject == user
        and session.revoked_at is None
        and session.expires_at > now + REST_SECONDS
    )
