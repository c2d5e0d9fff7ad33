"""A new session: who is told what its next request will need."""

from collections.abc import Sequence

import pytest

from sidecar.accounts.sessions import Revoked, Sessions
from sidecar.authenticate.opaque import digest, signing_key
from sidecar.model.change import Change, Level
from sidecar.model.errors import NotFound
from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.model.shard import shard_of

KEY = signing_key("a key for tests, of enough length")


class Rows:
    """A store that keeps the digests, or knows nobody."""

    def __init__(self, *, knows: bool = True) -> None:
        self.knows = knows
        self.digests: list[bytes] = []

    async def create(
        self, name: bytes, identifier: str, tenant: str, subject: str, expires_at: float
    ) -> None:
        assert identifier
        assert expires_at == 160.0
        if not self.knows:
            raise NotFound(f"{tenant} has no user {subject}")
        self.digests.append(name)

    async def revoke(self, tenant: str, identifier: str) -> Revoked:
        raise AssertionError(tenant, identifier)

    async def revoke_all(self, tenant: str, subject: str) -> Revoked:
        raise AssertionError(tenant, subject)


async def publish(changes: Sequence[Change]) -> Level:
    raise AssertionError(changes)


async def test_it_is_told_once_the_session_is_stored() -> None:
    rows = Rows()
    told: list[StoreNeed] = []

    def signed_in(needs: Sequence[StoreNeed]) -> None:
        assert rows.digests
        told.extend(needs)

    sessions = Sessions(rows, publish, KEY, wall=lambda: 100.0, signed_in=signed_in)
    issued = await sessions.issue("acme", "alice", 60.0)
    name = digest(issued.token)
    session = SessionNeed(name, shard_of("acme"))
    assert told == [session, UserNeed("acme", "alice"), RolesNeed("acme")]
    assert rows.digests == [name]


async def test_nobody_is_told_of_what_was_not_stored() -> None:
    told: list[object] = []
    sessions = Sessions(Rows(knows=False), publish, KEY, wall=lambda: 100.0, signed_in=told.append)
    with pytest.raises(NotFound):
        await sessions.issue("acme", "nobody", 60.0)
    assert told == []


async def test_nobody_needs_to_be_told() -> None:
    rows = Rows()
    await Sessions(rows, publish, KEY, wall=lambda: 100.0).issue("acme", "alice", 60.0)
    assert len(rows.digests) == 1
