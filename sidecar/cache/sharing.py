"""Equal parts of facts as one object: each was decoded by itself, and thousands say the same.

A tenant has one name and few sets of roles, and a session, its user and the key of the user in
memory name the same person. Sharing these saves about 300 bytes for each session with its user.
Facts are values: who holds one sees no difference.
"""

from typing import Final

import msgspec

from sidecar.model.facts import RoleGrant, Session, User
from sidecar.model.need import UserNeed

# More than tenants and sets of roles there are in most deployments; what is beyond begins anew.
_MOST: Final = 4096
# Longer lists are seldom equal, and looking for them takes time.
_LONGEST: Final = 16


class Sharing:
    """What was seen before, bounded."""

    __slots__ = ("_names", "_roles")

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._roles: dict[tuple[RoleGrant, ...], tuple[RoleGrant, ...]] = {}

    def session(self, session: Session) -> None:
        """Let `session` use the tenant's name that others use."""
        if len(self._names) >= _MOST:
            self._names.clear()
        name = self._names.setdefault(session.tenant, session.tenant)
        # Frozen means that values do not change, and this one does not.
        msgspec.structs.force_setattr(session, "tenant", name)

    def user(self, user: User, need: UserNeed) -> None:
        """Let `user` use the names in `need`, which came from its session, and others' roles."""
        if (user.tenant, user.subject) == need:
            msgspec.structs.force_setattr(user, "tenant", need.tenant)
            msgspec.structs.force_setattr(user, "subject", need.subject)
        if 0 < len(user.roles) <= _LONGEST:
            if len(self._roles) >= _MOST:
                self._roles.clear()
            roles = self._roles.setdefault(user.roles, user.roles)
            msgspec.structs.force_setattr(user, "roles", roles)
