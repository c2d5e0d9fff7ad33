"""A region that knows its users by tenant, so that those of one can be forgotten at once.

A page of a replay may hold a thousand changes of tenants. Looking through all users for each of
them stopped the loop for seconds.
"""

from typing import TypeVar

from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.need import RolesNeed, UserNeed

V = TypeVar("V")
# How a fact is named within its region. Never the secret itself: digests for credentials.
Key = bytes | UserNeed | RolesNeed


class ByTenant(S3Fifo[Key, V]):
    """As any region; some of its keys are users."""

    __slots__ = ("_users",)

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self._users: dict[str, set[UserNeed]] = {}

    def delete_users(self, tenant: str) -> None:
        """Forget the users of `tenant`. O(those)."""
        for key in tuple(self._users.get(tenant, ())):
            self.delete(key)

    def _came(self, key: Key) -> None:
        if isinstance(key, UserNeed):
            self._users.setdefault(key.tenant, set()).add(key)

    def _went(self, key: Key) -> None:
        if not isinstance(key, UserNeed):
            return
        users = self._users[key.tenant]
        users.discard(key)
        if not users:
            del self._users[key.tenant]
