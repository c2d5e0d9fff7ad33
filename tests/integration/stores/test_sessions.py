"""Sessions in PostgreSQL."""

import time

import pytest

from sidecar.accounts.sessions import Sessions
from sidecar.authenticate.opaque import check, digest, signing_key
from sidecar.model.change import Change, ChangeKind, Level
from sidecar.model.errors import NotFound, Refused
from sidecar.model.facts import Session, Status
from sidecar.model.need import ABSENT, SessionNeed
from sidecar.model.shard import shard_of
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users

SHARD = shard_of("acme")
ONE = b"1" * 32
TWO = b"2" * 32


@pytest.fixture
def rows(pool: Pool, acme: str) -> SessionRows:
    assert acme
    return SessionRows(pool)


async def session(pool: Pool, key: bytes = ONE) -> Session:
    found = await FactStore(pool).read(SessionNeed(key, SHARD))
    assert isinstance(found, Session)
    return found


async def test_signing_in_needs_no_sequence(pool: Pool, rows: SessionRows) -> None:
    before = await Outbox(pool).states()
    ends = time.time() + 60
    await rows.create(ONE, "one", "acme", "alice", ends)
    assert await Outbox(pool).states() == before
    found = await session(pool)
    assert (found.id, found.tenant, found.subject) == ("one", "acme", "alice")
    assert found.expires_at == pytest.approx(ends, abs=1e-5)
    assert found.revoked_at is None


async def test_a_session_of_another_shard_is_absent(pool: Pool, rows: SessionRows) -> None:
    await rows.create(ONE, "one", "acme", "alice", time.time() + 60)
    assert await FactStore(pool).read(SessionNeed(ONE, (SHARD + 1) % 16)) is ABSENT
    assert await FactStore(pool).read(SessionNeed(TWO, SHARD)) is ABSENT


async def test_revoking_is_announced_once(pool: Pool, rows: SessionRows) -> None:
    await rows.create(ONE, "one", "acme", "alice", time.time() + 60)
    seq = (await Outbox(pool).state(SHARD)).seq + 1
    revoked = await rows.revoke("acme", "one")
    assert revoked.changes == (Change(SHARD, seq, ChangeKind.SESSION, "acme", "alice", seq, ONE),)
    found = await session(pool)
    assert found.revoked_at is not None
    assert found.version == seq
    assert (await rows.revoke("acme", "one")).changes == ()


async def test_revoking_all_leaves_others_and_the_ended_alone(
    pool: Pool, rows: SessionRows
) -> None:
    await Users(pool).create("acme", "bob")
    for number, (subject, lasts) in enumerate(
        [("alice", 60), ("alice", 60), ("alice", -60), ("bob", 60)]
    ):
        await rows.create(bytes([number]) * 32, str(number), "acme", subject, time.time() + lasts)
    revoked = await rows.revoke_all("acme", "alice")
    assert revoked.ended == 2
    assert sorted(change.payload[0] for change in revoked.changes) == [0, 1]
    states = {row.id: row.revoked_at is not None for row in await rows.list("acme")}
    assert states == {"0": True, "1": True, "2": False, "3": False}
    assert [row.id for row in await rows.list("acme", "bob")] == ["3"]
    assert (await rows.revoke_all("acme", "alice")) == (0, ())


async def test_revoking_very_many_flushes_the_shard(pool: Pool, rows: SessionRows) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            b"INSERT INTO auth_session (digest, id, tenant, subject, expires_at) "
            b"SELECT sha256(n::text::bytea), n::text, 'acme', 'alice', now() + interval '1 h' "
            b"FROM generate_series(1, 1001) n"
        )
    revoked = await rows.revoke_all("acme", "alice")
    assert revoked.ended == 1001
    assert [change.kind for change in revoked.changes] == [ChangeKind.FLUSH]


async def test_who_may_not_have_a_session(pool: Pool, rows: SessionRows) -> None:
    ends = time.time() + 60
    with pytest.raises(NotFound, match="no user"):
        await rows.create(ONE, "one", "acme", "nobody", ends)
    with pytest.raises(NotFound, match="no user"):
        await rows.create(ONE, "one", "other", "alice", ends)
    await Users(pool).set_status("acme", "alice", Status.DISABLED)
    with pytest.raises(Refused, match="disabled"):
        await rows.create(ONE, "one", "acme", "alice", ends)
    await Users(pool).set_status("acme", "alice", Status.ACTIVE)
    await Tenants(pool).set_status("acme", Status.DISABLED)
    with pytest.raises(Refused, match="disabled"):
        await rows.create(ONE, "one", "acme", "alice", ends)
    assert await rows.list("acme") == []


async def test_nothing_to_revoke(rows: SessionRows) -> None:
    with pytest.raises(NotFound, match="no session"):
        await rows.revoke("acme", "one")
    with pytest.raises(NotFound, match="no user"):
        await rows.revoke_all("acme", "nobody")


async def test_deleting_a_user_tells_of_its_sessions(pool: Pool, rows: SessionRows) -> None:
    await rows.create(ONE, "one", "acme", "alice", time.time() + 60)
    changes = await Users(pool).delete("acme", "alice")
    assert (ChangeKind.SESSION, ONE) in [(change.kind, change.payload) for change in changes]


async def test_pruning_deletes_what_is_old_and_only_that(pool: Pool, rows: SessionRows) -> None:
    await rows.create(ONE, "old", "acme", "alice", time.time() - 2 * 86400)
    await rows.create(TWO, "new", "acme", "alice", time.time() - 3600)
    async with pool.connection() as connection:
        await connection.execute(
            b"UPDATE auth_outbox SET created_at = now() - interval '2 h' WHERE seq <= 2"
        )
    outbox = Outbox(pool)
    before = await outbox.states()
    await outbox.prune()
    assert [row.id for row in await rows.list("acme")] == ["new"]
    assert (await outbox.after(SHARD, 0))[0].seq == 3
    assert await outbox.states() == before


async def test_issuing_and_revoking_through_the_accounts(pool: Pool, rows: SessionRows) -> None:
    told: list[Change] = []

    async def publish(changes: object) -> Level:
        assert isinstance(changes, tuple)
        told.extend(changes)
        return Level.PUBLISHED

    key = signing_key("k" * 32)
    sessions = Sessions(rows, publish, key, wall=lambda: 1e9)
    issued = await sessions.issue("acme", "alice", 1e9)
    assert check(issued.token, key) == SHARD
    assert issued.token not in repr(issued)
    assert (await session(pool, digest(issued.token))).expires_at == issued.expires_at == 2e9
    assert await sessions.revoke("acme", issued.id) == (1, Level.PUBLISHED)
    assert [change.payload for change in told] == [digest(issued.token)]
    await sessions.issue("acme", "alice", 1e9)
    assert await sessions.revoke_all("acme", "alice") == (1, Level.PUBLISHED)
