"""Opaque sessions: issue one, revoke one, revoke all of a user."""

import secrets
from base64 import b32encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

from sidecar.authenticate.opaque import RANDOM_BYTES, digest, mint
from sidecar.model.change import Change, Level
from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.model.shard import shard_of

# The public id tells sessions apart in logs: 80 bits do not collide, and are no secret.
_ID_BYTES: Final = 10
Publish = Callable[[Sequence[Change]], Awaitable[Level]]


class IssuedSession(NamedTuple):
    """A new session. `token` exists here and with the client, nowhere else.

    Attributes:
        token: the secret.
        id: its public name.
        expires_at: wall-clock end.
    """

    token: str
    id: str
    expires_at: float

    def __repr__(self) -> str:
        """Without the secret (PROMISES 12)."""
        return f"IssuedSession({self.id})"


class Revoked(Protocol):
    """What the store says to a revocation."""

    @property
    def ended(self) -> int:
        """How many sessions."""
        ...

    @property
    def changes(self) -> tuple[Change, ...]:
        """What has to be published."""
        ...


class SessionStore(Protocol):
    """Where sessions are kept (`store.sessions.SessionRows`). All raise `StoresUnavailable`."""

    async def create(
        self, digest: bytes, identifier: str, tenant: str, subject: str, expires_at: float, /
    ) -> None:
        """Stores one; raises `NotFound` or `Refused` for who may not have one."""
        ...

    async def revoke(self, tenant: str, identifier: str, /) -> Revoked:
        """Revokes one; raises `NotFound`."""
        ...

    async def revoke_all(self, tenant: str, subject: str, /) -> Revoked:
        """Revokes all of a user; raises `NotFound`."""
        ...


class Ended(NamedTuple):
    """How many sessions were ended, and how far the news has come.

    `Level.COMMITTED` means: within seconds; the store knows, the relay will tell.
    """

    sessions: int
    level: Level


class Sessions:
    """Issues and revokes sessions.

    Args:
        store: where they are kept.
        publish: tells the sidecars (`sync.publisher.Publisher.publish`).
        key: signs tokens (`authenticate.opaque.signing_key`).
        wall: wall clock.
        signed_in: is told what the next request of a new session will need, and may load it, but
            must not wait (`sync.anticipation.Anticipation.signed_in`); None for nobody, e.g. where
            no requests are served. Siblings are not told: loading fills Redis, where they look.
    """

    def __init__(
        self,
        store: SessionStore,
        publish: Publish,
        key: bytes,
        *,
        wall: Callable[[], float],
        signed_in: Callable[[Sequence[StoreNeed]], None] | None = None,
    ) -> None:
        self._store = store
        self._publish = publish
        self._key = key
        self._wall = wall
        self._signed_in = signed_in

    async def issue(self, tenant: str, subject: str, lifetime_seconds: float) -> IssuedSession:
        """A new session of a user that is known and active.

        Raises:
            NotFound: there is no such user.
            Refused: the user or the tenant is disabled.
            StoresUnavailable: it was not stored.
        """
        shard = shard_of(tenant)
        token = mint(shard, secrets.token_bytes(RANDOM_BYTES), self._key)
        identifier = b32encode(secrets.token_bytes(_ID_BYTES)).decode("ascii").lower()
        expires_at = self._wall() + lifetime_seconds
        name = digest(token)
        await self._store.create(name, identifier, tenant, subject, expires_at)
        if self._signed_in is not None:
            user, roles = UserNeed(tenant, subject), RolesNeed(tenant)
            self._signed_in((SessionNeed(name, shard), user, roles))
        return IssuedSession(token, identifier, expires_at)

    async def revoke(self, tenant: str, identifier: str) -> Ended:
        """Ends one session by its public id. Ending it again tells again, and changes nothing.

        Raises:
            NotFound: there is none.
            StoresUnavailable: it was not stored; the session may go on (PROMISES 16).
        """
        revoked = await self._store.revoke(tenant, identifier)
        return Ended(revoked.ended, await self._publish(revoked.changes))

    async def revoke_all(self, tenant: str, subject: str) -> Ended:
        """Ends all sessions of a user.

        Raises:
            NotFound: there is no such user.
            StoresUnavailable: it was not stored; they may go on.
        """
        revoked = await self._store.revoke_all(tenant, subject)
        return Ended(revoked.ended, await self._publish(revoked.changes))
