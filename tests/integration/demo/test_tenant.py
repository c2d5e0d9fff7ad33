"""The demo tenant in a real PostgreSQL."""

from sidecar.authenticate import opaque
from sidecar.demo.tenant import DISABLED, ROLES, TENANT, USERS, prepare, variable
from sidecar.model.facts import RoleGraph, Session, Status, User
from sidecar.model.need import RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.store.facts import FactStore
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows
from sidecar.store.users import Users

SECRET = "s" * 48


async def _session(pool: Pool, token: str) -> object:
    shard = opaque.check(token, opaque.signing_key(SECRET))
    assert shard == shard_of(TENANT)
    return await FactStore(pool).read(SessionNeed(opaque.digest(token), shard))


async def test_everybody_has_a_role_and_a_session_but_mallory_is_disabled(pool: Pool) -> None:
    tokens = await prepare(pool, SECRET, {})
    assert set(tokens) == {"ALICE_TOKEN", "BOB_TOKEN", "CAROL_TOKEN", "MALLORY_TOKEN"}
    for name, role in USERS.items():
        user = await FactStore(pool).read(UserNeed(TENANT, name))
        session = await _session(pool, tokens[variable(name)])
        assert isinstance(user, User)
        assert isinstance(session, Session)
        assert session.subject == name
        assert [grant.role for grant in user.roles] == [role]
        assert user.status == (Status.DISABLED if name == DISABLED else Status.ACTIVE)


async def test_auditors_read_because_they_inherit_readers(pool: Pool) -> None:
    await prepare(pool, SECRET, {})
    graph = await FactStore(pool).read(RolesNeed(TENANT))
    assert isinstance(graph, RoleGraph)
    roles = {role.name: role for role in graph.roles}
    assert set(roles) == set(ROLES)
    assert (roles["auditor"].parents, roles["auditor"].rules) == (("reader",), ())
    assert [rule.action for rule in roles["reader"].rules] == ["orders:read"]


async def test_the_second_time_tokens_are_the_same_and_nothing_is_written(pool: Pool) -> None:
    tokens = await prepare(pool, SECRET, {})
    before = await pool.fetch("SELECT sum(seq) FROM auth_shard")
    assert await prepare(pool, SECRET, tokens) == tokens
    assert await pool.fetch("SELECT sum(seq) FROM auth_shard") == before


async def test_what_was_changed_stays_changed(pool: Pool) -> None:
    tokens = await prepare(pool, SECRET, {})
    users = Users(pool)
    await users.unassign(TENANT, "bob", "clerk")
    await users.set_status(TENANT, "carol", Status.DISABLED)
    await prepare(pool, SECRET, tokens)
    bob = await FactStore(pool).read(UserNeed(TENANT, "bob"))
    carol = await FactStore(pool).read(UserNeed(TENANT, "carol"))
    assert isinstance(bob, User)
    assert isinstance(carol, User)
    assert (bob.roles, carol.status) == ((), Status.DISABLED)


async def test_a_revoked_session_is_replaced(pool: Pool) -> None:
    tokens = await prepare(pool, SECRET, {})
    await SessionRows(pool).revoke_all(TENANT, "bob")
    again = await prepare(pool, SECRET, tokens)
    assert again["BOB_TOKEN"] != tokens["BOB_TOKEN"]
    assert again["ALICE_TOKEN"] == tokens["ALICE_TOKEN"]
    assert isinstance(await _session(pool, again["BOB_TOKEN"]), Session)


async def test_a_token_of_another_user_is_replaced(pool: Pool) -> None:
    tokens = await prepare(pool, SECRET, {})
    again = await prepare(pool, SECRET, tokens | {"BOB_TOKEN": tokens["ALICE_TOKEN"]})
    assert again["BOB_TOKEN"] not in tokens.values()


async def test_with_another_key_all_tokens_of_active_users_are_new(pool: Pool) -> None:
    tokens = await prepare(pool, SECRET, {})
    again = await prepare(pool, "t" * 48, tokens)
    changed = {name for name, token in again.items() if token != tokens[name]}
    assert changed == {"ALICE_TOKEN", "BOB_TOKEN", "CAROL_TOKEN"}


async def test_a_disabled_user_whose_token_was_lost_gets_one_that_is_refused(pool: Pool) -> None:
    await prepare(pool, SECRET, {})
    again = await prepare(pool, SECRET, {})
    assert not isinstance(await _session(pool, again["MALLORY_TOKEN"]), Session)


async def test_an_interrupted_first_time_is_completed(pool: Pool) -> None:
    await prepare(pool, SECRET, {})
    users = Users(pool)
    await users.delete(TENANT, DISABLED)
    await users.delete(TENANT, "carol")
    tokens = await prepare(pool, SECRET, {})
    assert isinstance(await _session(pool, tokens["CAROL_TOKEN"]), Session)
    mallory = await FactStore(pool).read(UserNeed(TENANT, DISABLED))
    assert isinstance(mallory, User)
    assert mallory.status is Status.DISABLED
