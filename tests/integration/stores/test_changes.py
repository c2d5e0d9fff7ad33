"""Changes, by our calls and by plain SQL: sequences, versions, the outbox, what is refused."""

import asyncio
import time

import psycopg
import pytest

from sidecar.model.change import Change, ChangeKind
from sidecar.model.errors import Invalid, NotFound, Refused
from sidecar.model.facts import Effect, Role, RoleGrant, RoleGraph, Rule, RuleGrant, Status, User
from sidecar.model.need import ABSENT, RolesNeed, UserNeed
from sidecar.model.shard import SHARDS, shard_of
from sidecar.store.change import changes_of
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.roles import Roles
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users

SHARD = shard_of("acme")
READ = Rule(Effect.ALLOW, "orders:read", "orders/1")


async def sql(pool: Pool, statement: str) -> tuple[Change, ...]:
    """Runs plain SQL as an operator would; returns what it announced in acme's shard."""
    before = (await Outbox(pool).state(SHARD)).seq
    async with pool.connection() as connection:
        await connection.execute(statement.encode(), prepare=False)
    return await Outbox(pool).after(SHARD, before)


def what(changes: tuple[Change, ...]) -> list[tuple[ChangeKind, str]]:
    return [(change.kind, change.subject) for change in changes]


async def user(pool: Pool, name: str = "alice") -> User:
    found = await FactStore(pool).read(UserNeed("acme", name))
    assert isinstance(found, User)
    return found


async def test_python_and_postgres_agree_on_shards(pool: Pool) -> None:
    slugs = ["acme", "demo", "a", "x" * 63, "t-1.2_3", "zürich"]
    rows = await pool.fetch(
        "SELECT slug, auth_shard_of(slug) FROM unnest(%s::text[]) slug", (slugs,)
    )
    assert dict(rows) == {slug: shard_of(slug) for slug in slugs}


async def test_reads_what_was_written(pool: Pool, acme: str) -> None:
    ends = round(time.time()) + 3600.5
    await Users(pool).grant(acme, "alice", READ, ends)
    await Users(pool).assign(acme, "alice", "reader", "orders/*", ends)
    found = await user(pool)
    assert found.roles == (RoleGrant("editor"), RoleGrant("reader", "orders/*", ends))
    assert found.rules == (RuleGrant(READ, ends),)
    graph = await FactStore(pool).read(RolesNeed(acme))
    assert isinstance(graph, RoleGraph)
    assert graph.roles == (
        Role("editor", ("reader",)),
        Role("reader", (), (Rule(Effect.ALLOW, "orders:read"),)),
    )
    assert graph.version > 0


@pytest.mark.parametrize("tenant", ["nobody", "a\0b", "\ud800"])
async def test_what_is_not_there_is_absent(pool: Pool, acme: str, tenant: str) -> None:
    facts = FactStore(pool)
    assert await facts.read(UserNeed(tenant, "alice")) is ABSENT
    assert await facts.read(UserNeed(acme, tenant)) is ABSENT
    assert await facts.read(RolesNeed(tenant)) is ABSENT


async def test_each_change_takes_the_next_sequence_and_is_announced(pool: Pool, acme: str) -> None:
    users, roles = Users(pool), Roles(pool)
    state = await Outbox(pool).state(SHARD)
    steps = [
        (await users.create(acme, "bob"), ChangeKind.USER, "bob"),
        (await users.set_status(acme, "bob", Status.DISABLED), ChangeKind.USER, "bob"),
        (await users.grant(acme, "bob", READ), ChangeKind.USER, "bob"),
        (await users.assign(acme, "bob", "reader"), ChangeKind.USER, "bob"),
        (await users.unassign(acme, "bob", "reader"), ChangeKind.USER, "bob"),
        (await users.revoke(acme, "bob", READ), ChangeKind.USER, "bob"),
        (await roles.add_rule(acme, "reader", READ), ChangeKind.ROLES, ""),
        (await roles.remove_rule(acme, "reader", READ), ChangeKind.ROLES, ""),
        (await roles.disinherit(acme, "editor", "reader"), ChangeKind.ROLES, ""),
        (await Tenants(pool).set_status(acme, Status.DISABLED), ChangeKind.TENANT, ""),
        (await users.delete(acme, "bob"), ChangeKind.USER, "bob"),
    ]
    for number, (changes, kind, subject) in enumerate(steps, state.seq + 1):
        assert changes == (Change(SHARD, number, kind, acme, subject, number, b""),)
    assert (await Outbox(pool).state(SHARD)).seq == state.seq + len(steps)


async def test_the_version_of_a_fact_is_the_sequence_of_its_last_change(
    pool: Pool, acme: str
) -> None:
    [change] = await Users(pool).assign(acme, "alice", "reader")
    assert (await user(pool)).version == change.seq
    [change] = await Tenants(pool).set_status(acme, Status.DISABLED)
    assert (await user(pool)).version == change.seq
    assert (await user(pool)).status is Status.DISABLED
    [change] = await Roles(pool).create(acme, "other")
    graph = await FactStore(pool).read(RolesNeed(acme))
    assert isinstance(graph, RoleGraph)
    assert graph.version == change.seq


async def test_what_changes_nothing_takes_no_sequence(pool: Pool, acme: str) -> None:
    before = await Outbox(pool).states()
    users, roles = Users(pool), Roles(pool)
    assert await users.set_status(acme, "alice", Status.ACTIVE) == ()
    assert await users.assign(acme, "alice", "editor") == ()
    assert await users.create(acme, "alice", exist_ok=True) == ()
    assert await roles.inherit(acme, "editor", "reader") == ()
    assert await roles.create(acme, "reader", exist_ok=True) == ()
    assert await Tenants(pool).create(acme, exist_ok=True) == ()
    assert await sql(pool, "UPDATE auth_user SET name = 'Other', status = status") == ()
    assert await Outbox(pool).states() == before


async def test_plain_sql_is_announced(pool: Pool, acme: str) -> None:
    await Users(pool).create(acme, "bob")
    assert what(await sql(pool, "UPDATE auth_user SET status = 'disabled'")) == [
        (ChangeKind.USER, "alice"),
        (ChangeKind.USER, "bob"),
    ]
    assert what(await sql(pool, "DELETE FROM auth_role_grant")) == [(ChangeKind.USER, "alice")]
    assert what(await sql(pool, "UPDATE auth_role_rule SET effect = 'deny'")) == [
        (ChangeKind.ROLES, "")
    ]
    assert what(await sql(pool, "UPDATE auth_user SET subject = 'al' WHERE subject = 'alice'")) == [
        (ChangeKind.USER, "al"),
        (ChangeKind.USER, "alice"),
    ]
    assert (ChangeKind.TENANT, "") in what(await sql(pool, "DELETE FROM auth_tenant"))


async def test_plain_sql_within_a_strangers_trigger_is_announced(pool: Pool, acme: str) -> None:
    await sql(
        pool,
        "CREATE TABLE staff (name text);"
        "CREATE FUNCTION hire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE auth_user SET status = 'disabled' WHERE subject = NEW.name; RETURN NEW; END $$;"
        "CREATE TRIGGER hire AFTER INSERT ON staff FOR EACH ROW EXECUTE FUNCTION hire()",
    )
    assert what(await sql(pool, "INSERT INTO staff VALUES ('alice')")) == [
        (ChangeKind.USER, "alice")
    ]
    assert acme


async def test_deleting_a_role_tells_of_its_holders(pool: Pool, acme: str) -> None:
    changes = await Roles(pool).delete(acme, "editor")
    assert (ChangeKind.USER, "alice") in what(changes)
    assert (ChangeKind.ROLES, "") in what(changes)
    assert (await user(pool)).roles == ()


async def test_a_statement_over_many_users_forgets_the_tenant(pool: Pool, acme: str) -> None:
    changes = await sql(
        pool,
        "INSERT INTO auth_user (tenant, subject) "
        "SELECT 'acme', 'user' || n FROM generate_series(1, 1001) n",
    )
    assert [(change.kind, change.tenant) for change in changes] == [(ChangeKind.TENANT, acme)]
    assert (await user(pool, "user7")).version == changes[0].seq


async def test_a_truncation_flushes_every_shard(pool: Pool, acme: str) -> None:
    before = await Outbox(pool).states()
    assert what(await sql(pool, "TRUNCATE auth_rule_grant")) == [(ChangeKind.FLUSH, "")]
    after = await Outbox(pool).states()
    assert [state.seq for state in after] == [state.seq + 1 for state in before]
    assert len(after) == SHARDS
    assert acme


async def test_sequences_have_no_gap_and_follow_the_commits(pool: Pool, acme: str) -> None:
    users = Users(pool)
    start = (await Outbox(pool).state(SHARD)).seq
    outcomes = await asyncio.gather(
        *(users.create(acme, f"u{number}") for number in range(20)),
        *(users.create(acme, "u0") for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 4
    told = await Outbox(pool).after(SHARD, start)
    assert [change.seq for change in told] == list(range(start + 1, start + 21))


async def test_a_transaction_that_is_rolled_back_leaves_no_trace(pool: Pool, acme: str) -> None:
    before = await Outbox(pool).states()
    async with pool.connection() as connection:
        await connection.execute(b"BEGIN")
        await connection.execute(b"UPDATE auth_user SET status = 'disabled'")
        await connection.execute(b"ROLLBACK")
    assert await Outbox(pool).states() == before
    assert acme


async def test_cycles_of_roles_are_refused(pool: Pool, acme: str) -> None:
    roles = Roles(pool)
    await roles.create(acme, "chief")
    await roles.inherit(acme, "chief", "editor")
    before = await Outbox(pool).states()
    with pytest.raises(Refused, match="cannot inherit itself"):
        await roles.inherit(acme, "reader", "chief")
    with pytest.raises(Refused, match="cannot inherit itself"):
        await roles.inherit(acme, "chief", "chief")
    with pytest.raises(psycopg.errors.CheckViolation, match="would inherit itself"):
        await sql(pool, "UPDATE auth_role_parent SET parent = 'chief' WHERE role = 'editor'")
    assert await Outbox(pool).states() == before


async def test_two_halves_of_a_cycle_at_once_are_refused(pool: Pool, acme: str) -> None:
    roles = Roles(pool)
    for name in ("a", "b"):
        await roles.create(acme, name)
    outcomes = await asyncio.gather(
        roles.inherit(acme, "a", "b"), roles.inherit(acme, "b", "a"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(Refused) == 1


async def test_two_halves_of_a_cycle_in_plain_transactions_are_refused(
    pool: Pool, acme: str
) -> None:
    roles = Roles(pool)
    for name in ("a", "b"):
        await roles.create(acme, name)
    async with pool.connection() as one, pool.connection() as two:
        await one.execute(b"BEGIN")
        await two.execute(b"BEGIN")
        await one.execute(b"INSERT INTO auth_role_parent VALUES ('acme', 'a', 'b')")
        second = asyncio.create_task(
            two.execute(b"INSERT INTO auth_role_parent VALUES ('acme', 'b', 'a')")
        )
        await one.execute(b"COMMIT")
        with pytest.raises(psycopg.errors.CheckViolation):
            await second
        await two.execute(b"ROLLBACK")


REFUSED = [
    ("tenant exists", Refused, lambda pool: Tenants(pool).create("acme")),
    ("slug", Invalid, lambda pool: Tenants(pool).create("A:b")),
    ("no tenant to set", NotFound, lambda pool: Tenants(pool).set_status("no", Status.ACTIVE)),
    ("user exists", Refused, lambda pool: Users(pool).create("acme", "alice")),
    ("user without tenant", NotFound, lambda pool: Users(pool).create("no", "alice")),
    ("control character", Invalid, lambda pool: Users(pool).create("acme", "a\nb")),
    ("NUL", Invalid, lambda pool: Users(pool).create("acme", "a\0b")),
    ("surrogate", Invalid, lambda pool: Users(pool).create("acme", "\ud800")),
    ("no user", NotFound, lambda pool: Users(pool).set_status("acme", "no", Status.ACTIVE)),
    ("no user to delete", NotFound, lambda pool: Users(pool).delete("acme", "no")),
    ("assign to nobody", NotFound, lambda pool: Users(pool).assign("acme", "no", "reader")),
    ("assign nothing", NotFound, lambda pool: Users(pool).assign("acme", "alice", "no")),
    ("unassign", NotFound, lambda pool: Users(pool).unassign("acme", "alice", "reader")),
    ("grant", NotFound, lambda pool: Users(pool).grant("acme", "no", READ)),
    ("action", Invalid, lambda pool: Users(pool).grant("acme", "alice", Rule(Effect.DENY, "a b"))),
    ("revoke", NotFound, lambda pool: Users(pool).revoke("acme", "alice", READ)),
    ("role exists", Refused, lambda pool: Roles(pool).create("acme", "reader")),
    ("role name", Invalid, lambda pool: Roles(pool).create("acme", "a,b")),
    ("role without tenant", NotFound, lambda pool: Roles(pool).create("no", "a")),
    ("no role", NotFound, lambda pool: Roles(pool).delete("acme", "no")),
    ("no child", NotFound, lambda pool: Roles(pool).inherit("acme", "no", "reader")),
    ("no parent", NotFound, lambda pool: Roles(pool).inherit("acme", "reader", "no")),
    ("no link", NotFound, lambda pool: Roles(pool).disinherit("acme", "reader", "editor")),
    ("no role for a rule", NotFound, lambda pool: Roles(pool).add_rule("acme", "no", READ)),
    ("no rule", NotFound, lambda pool: Roles(pool).remove_rule("acme", "reader", READ)),
]


@pytest.mark.parametrize(
    ("expected", "change"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_refusals_say_what_is_wrong_and_change_nothing(
    pool: Pool, acme: str, expected: type[Exception], change: object
) -> None:
    before = await Outbox(pool).states()
    assert callable(change)
    with pytest.raises(expected, match=r".{10,}"):
        await change(pool)
    assert await Outbox(pool).states() == before
    assert acme


async def test_lists(pool: Pool, acme: str) -> None:
    await Users(pool).create(acme, "bob", "Bob")
    assert [row.subject for row in await Users(pool).list(acme)] == ["alice", "bob"]
    assert [row.name for row in await Users(pool).list(acme, "alice")] == ["Bob"]
    assert [row.subject for row in await Users(pool).list(acme, limit=1)] == ["alice"]
    [row] = await Tenants(pool).list()
    assert (row.slug, row.name, row.shard, row.status) == (acme, "Acme", SHARD, "active")
    assert await Tenants(pool).exists(acme)
    assert not await Tenants(pool).exists("other")


async def test_expired_grants_are_left_out(pool: Pool, acme: str) -> None:
    await Users(pool).assign(acme, "alice", "editor", expires_at=time.time() - 1)
    await Users(pool).grant(acme, "alice", READ, time.time() - 1)
    found = await user(pool)
    assert (found.roles, found.rules) == ((), ())


def test_a_change_of_a_kind_from_a_newer_release_is_made_up_for_by_forgetting_all() -> None:
    [change] = changes_of([(3, 7, "from-the-future", "acme", "", 7, b"")])
    assert change.kind is ChangeKind.FLUSH
