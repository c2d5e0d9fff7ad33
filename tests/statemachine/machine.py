"""Stories of changes, faults and requests: what two sidecars answer is held against the model."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Coroutine
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sidecar.embedded.valkey import EmbeddedValkey
from sidecar.model.change import Change, Level
from sidecar.model.errors import NotFound, Refused
from sidecar.model.facts import Effect, Rule, Status
from sidecar.store.roles import Roles
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users
from tests.statemachine.plane import LEASE_SECONDS, METHODS, SIDECARS, Plane, tenant_name
from tests.statemachine.truth import Granted, Held, History, Question, Role, Session, Tenant, User

T = TypeVar("T")
_SHARDS: Final = (3, 9)
_SUBJECTS: Final = ("alice", "bob")
_ROLES: Final = ("reader", "editor", "owner")
_RESOURCES: Final = ("orders/1", "orders/2")
# Long enough that no story reaches it by itself, short enough to be reached by a jump.
_SOON_SECONDS: Final = 500.0
_MOST_SESSIONS: Final = 7
_OPTIMISATIONS: Final = (
    "memory_cache", "redis_cache", "negative_cache", "single_flight", "refresh_ahead",
    "decision_memo", "warming", "prediction", "revalidation",
)  # fmt: skip

tenants = st.integers(0, len(_SHARDS) - 1)
subjects = st.sampled_from(_SUBJECTS)
roles = st.sampled_from(_ROLES)
sidecars = st.integers(0, SIDECARS - 1)
# One of what there is, modulo its number.
picks = st.integers(0, 11)
scopes = st.sampled_from(("*", "orders/1"))
lifetimes = st.sampled_from((None, _SOON_SECONDS))
rules = st.builds(
    Rule,
    st.sampled_from((Effect.ALLOW, Effect.ALLOW, Effect.DENY)),
    st.sampled_from(("orders:read", "orders:delete", "orders:*", "*")),
    st.sampled_from(("*", "orders/1", "orders/*")),
)
# How far the writer takes its change: it crashes after the commit, publishes, or waits.
levels = st.sampled_from((Level.APPLIED, Level.APPLIED, Level.PUBLISHED, Level.COMMITTED))


class Machine(RuleBasedStateMachine):
    """One story. Subclasses say on which stores.

    Attributes:
        told: what happened in all stories, for people.
        wrong: the answers that must not be. Hypothesis tells the story of one; but it gives up on
            a story that does not end the same way when it is told again.
    """

    dsn: ClassVar[str]
    server: ClassVar[EmbeddedValkey]
    told: ClassVar[Counter[str]]
    wrong: ClassVar[list[str]]

    def __init__(self) -> None:
        super().__init__()
        # Not uvloop: closing that one was seen to wait for ever for a handle that nobody owned.
        self._runner = asyncio.Runner()
        self._plane: Plane | None = None
        self._names = [tenant_name(shard) for shard in _SHARDS]
        self._sessions: list[tuple[int, Session]] = []
        self._histories: list[History] = []

    @property
    def plane(self) -> Plane:
        assert self._plane is not None
        return self._plane

    def teardown(self) -> None:
        try:
            if self._plane is not None:
                self._run(self._end(self._plane))
        finally:
            self._runner.close()

    async def _end(self, plane: Plane) -> None:
        self.told["asked again"] += plane.unanswered
        await plane.close()

    def _run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(doing)

    @initialize(off=st.sets(st.sampled_from(_OPTIMISATIONS), max_size=2))
    def begin(self, off: set[str]) -> None:
        self.told["stories"] += 1
        features = dict.fromkeys(off, False)
        self._plane = Plane(self.dsn, self.server, features)
        self._run(self._begin())

    async def _begin(self) -> None:
        """In each tenant alice edits and so reads, and bob reads; everything else may come."""
        await self.plane.open()
        read, delete = Rule(Effect.ALLOW, "orders:read"), Rule(Effect.ALLOW, "orders:delete")
        for name in self._names:
            pool = self.plane.pool
            changes = await Tenants(pool).create(name)
            for role in _ROLES:
                changes += await Roles(pool).create(name, role)
            changes += await Roles(pool).add_rule(name, "reader", read)
            changes += await Roles(pool).add_rule(name, "editor", delete)
            changes += await Roles(pool).inherit(name, "editor", "reader")
            for subject in _SUBJECTS:
                changes += await Users(pool).create(name, subject)
            changes += await Users(pool).assign(name, "alice", "editor")
            changes += await Users(pool).grant(name, "bob", read)
            self._histories.append(
                History(
                    Tenant(
                        users={
                            "alice": User(roles={("editor", "*"): Held("editor", "*", None)}),
                            "bob": User(rules={read: Granted(read, None)}),
                        },
                        roles={
                            "reader": Role(rules=frozenset({read})),
                            "editor": Role(frozenset({"reader"}), frozenset({delete})),
                            "owner": Role(),
                        },
                    )
                )
            )
            await self.plane.applied(changes)
            for subject in _SUBJECTS:
                await self._sign_in(len(self._histories) - 1, subject, None)

    # Signing in, signing out, expiring

    @precondition(lambda self: len(self._sessions) < _MOST_SESSIONS)
    @rule(tenant=tenants, subject=subjects, lifetime=lifetimes)
    def sign_in(self, tenant: int, subject: str, lifetime: float | None) -> None:
        self._run(self._sign_in(tenant, subject, lifetime))

    async def _sign_in(self, tenant: int, subject: str, lifetime: float | None) -> None:
        truth = self._histories[tenant].now
        name = self._names[tenant]
        try:
            issued = await self.plane.sessions.issue(name, subject, lifetime or 1e6)
        except Refused:
            assert not (truth.active and truth.users[subject].active)
            return
        assert truth.active
        assert truth.users[subject].active
        session = Session(issued.token, issued.id, subject, issued.expires_at)
        self._sessions.append((tenant, session))

    @rule(pick=picks, number=sidecars)
    def sign_out(self, pick: int, number: int) -> None:
        """Through a sidecar, which applies it before Redis is told, and publishes by itself."""
        tenant, session = self._sessions[pick % len(self._sessions)]
        self._run(self._sign_out(tenant, session, number))

    async def _sign_out(self, tenant: int, session: Session, number: int) -> None:
        history = self._histories[tenant]
        ended = await self.plane.deciding(number).sessions.revoke(self._names[tenant], session.id)
        history.change(replace(history.now, ended=history.now.ended | {session.id}))
        if ended.level is Level.PUBLISHED:
            history.reach_redis()
        # Whoever signs out here is out here when that is answered.
        await self._check(number, Question(session, "orders:read", "orders/1"), {False})

    @rule(
        seconds=st.sampled_from((2 * LEASE_SECONDS, 70.0, _SOON_SECONDS)),
    )
    def time_passes(self, seconds: float) -> None:
        """All sidecars are suspended: leases end, and perhaps entries, grants and sessions."""
        self.plane.clocks.ahead += seconds
        for history in self._histories:
            # Promise 14; and without Redis nobody uses anything but PostgreSQL any more.
            history.be_certain(all_of_it=not self.plane.redis_is_up)

    # Changes

    @rule(tenant=tenants, subject=subjects, granted=rules, lifetime=lifetimes, level=levels)
    def grant(
        self, tenant: int, subject: str, granted: Rule, lifetime: float | None, level: Level
    ) -> None:
        until = None if lifetime is None else self.plane.clocks.wall() + lifetime
        user = self._user(tenant, subject)
        after = replace(user, rules={**user.rules, granted: Granted(granted, until)})
        doing = Users(self.plane.pool).grant(self._names[tenant], subject, granted, until)
        self._change(tenant, doing, self._now(tenant).with_user(subject, after), level)

    @precondition(lambda self: self._granted())
    @rule(pick=picks, level=levels)
    def revoke_grant(self, pick: int, level: Level) -> None:
        granted = self._granted()
        tenant, subject, gone = granted[pick % len(granted)]
        user = self._user(tenant, subject)
        after = replace(user, rules={each: g for each, g in user.rules.items() if each != gone})
        doing = Users(self.plane.pool).revoke(self._names[tenant], subject, gone)
        self._change(tenant, doing, self._now(tenant).with_user(subject, after), level)

    @rule(
        tenant=tenants, subject=subjects, role=roles, scope=scopes, lifetime=lifetimes, level=levels
    )
    def assign(
        self,
        tenant: int,
        subject: str,
        role: str,
        scope: str,
        lifetime: float | None,
        level: Level,
    ) -> None:
        if role not in self._now(tenant).roles:
            return
        until = None if lifetime is None else self.plane.clocks.wall() + lifetime
        user = self._user(tenant, subject)
        after = replace(user, roles={**user.roles, (role, scope): Held(role, scope, until)})
        doing = Users(self.plane.pool).assign(self._names[tenant], subject, role, scope, until)
        self._change(tenant, doing, self._now(tenant).with_user(subject, after), level)

    @precondition(lambda self: self._held())
    @rule(pick=picks, level=levels)
    def unassign(self, pick: int, level: Level) -> None:
        held = self._held()
        tenant, subject, gone = held[pick % len(held)]
        user = self._user(tenant, subject)
        after = replace(user, roles={each: h for each, h in user.roles.items() if each != gone})
        doing = Users(self.plane.pool).unassign(self._names[tenant], subject, *gone)
        self._change(tenant, doing, self._now(tenant).with_user(subject, after), level)

    @rule(tenant=tenants, subject=subjects, level=levels)
    def disable_or_enable_user(self, tenant: int, subject: str, level: Level) -> None:
        user = self._user(tenant, subject)
        status = Status.DISABLED if user.active else Status.ACTIVE
        doing = Users(self.plane.pool).set_status(self._names[tenant], subject, status)
        after = replace(user, active=not user.active)
        self._change(tenant, doing, self._now(tenant).with_user(subject, after), level)

    @rule(tenant=tenants, level=levels)
    def disable_or_enable_tenant(self, tenant: int, level: Level) -> None:
        now = self._now(tenant)
        status = Status.DISABLED if now.active else Status.ACTIVE
        doing = Tenants(self.plane.pool).set_status(self._names[tenant], status)
        self._change(tenant, doing, replace(now, active=not now.active), level)

    @rule(tenant=tenants, role=roles, level=levels)
    def delete_or_create_role(self, tenant: int, role: str, level: Level) -> None:
        now, name = self._now(tenant), self._names[tenant]
        if role in now.roles:
            doing = Roles(self.plane.pool).delete(name, role)
            self._change(tenant, doing, now.without_role(role), level)
        else:
            doing = Roles(self.plane.pool).create(name, role)
            self._change(tenant, doing, now.with_role(role, Role()), level)

    @rule(tenant=tenants, role=roles, added=rules, level=levels)
    def add_rule(self, tenant: int, role: str, added: Rule, level: Level) -> None:
        if role in self._now(tenant).roles:
            doing = Roles(self.plane.pool).add_rule(self._names[tenant], role, added)
            self._edit_role(tenant, role, doing, level, rules={added})

    @precondition(lambda self: self._ruled())
    @rule(pick=picks, level=levels)
    def remove_rule(self, pick: int, level: Level) -> None:
        ruled = self._ruled()
        tenant, role, gone = ruled[pick % len(ruled)]
        doing = Roles(self.plane.pool).remove_rule(self._names[tenant], role, gone)
        self._edit_role(tenant, role, doing, level, without_rules={gone})

    @rule(tenant=tenants, role=roles, parent=roles, level=levels)
    def inherit(self, tenant: int, role: str, parent: str, level: Level) -> None:
        now = self._now(tenant)
        if not {role, parent} <= set(now.roles):
            return
        doing = Roles(self.plane.pool).inherit(self._names[tenant], role, parent)
        if role in now.inherited(parent):
            self._run(self._refused(doing))
        else:
            self._edit_role(tenant, role, doing, level, parents={parent})

    @precondition(lambda self: self._inheriting())
    @rule(pick=picks, level=levels)
    def disinherit(self, pick: int, level: Level) -> None:
        inheriting = self._inheriting()
        tenant, role, gone = inheriting[pick % len(inheriting)]
        doing = Roles(self.plane.pool).disinherit(self._names[tenant], role, gone)
        self._edit_role(tenant, role, doing, level, without_parents={gone})

    def _edit_role(
        self,
        tenant: int,
        name: str,
        doing: Coroutine[Any, Any, tuple[Change, ...]],
        level: Level,
        *,
        rules: AbstractSet[Rule] = frozenset(),
        parents: AbstractSet[str] = frozenset(),
        without_rules: AbstractSet[Rule] = frozenset(),
        without_parents: AbstractSet[str] = frozenset(),
    ) -> None:
        now = self._now(tenant)
        role = now.roles[name]
        after = Role(
            (role.parents | parents) - without_parents, (role.rules | rules) - without_rules
        )
        self._change(tenant, doing, now.with_role(name, after), level)

    async def _refused(self, doing: Awaitable[object]) -> None:
        try:
            await doing
        except Refused:
            return
        raise AssertionError("a role inherits itself")

    def _change(
        self,
        tenant: int,
        doing: Coroutine[Any, Any, tuple[Change, ...]],
        after: Tenant,
        level: Level,
    ) -> None:
        self.told[f"changes {level}"] += 1
        self._run(self._committed(tenant, doing, after, level))

    async def _committed(
        self, tenant: int, doing: Awaitable[tuple[Change, ...]], after: Tenant, level: Level
    ) -> None:
        try:
            changes = await doing
        except NotFound as error:
            # The model knows what there is.
            raise AssertionError(error) from error
        history = self._histories[tenant]
        if after == history.now:
            return
        was_certain = len(history.states) == 1
        history.change(after)
        if level is Level.COMMITTED:
            return
        if level is Level.APPLIED and self.plane.redis_is_up:
            if changes:
                await self.plane.applied(changes)
            if changes or was_certain:
                history.be_certain()
            await self._check_all(tenant)
        elif changes and await self.plane.publisher.publish(changes) is Level.PUBLISHED:
            assert self.plane.redis_is_up
            history.reach_redis()

    def _now(self, tenant: int) -> Tenant:
        return self._histories[tenant].now

    def _user(self, tenant: int, subject: str) -> User:
        return self._now(tenant).users[subject]

    def _users(self) -> list[tuple[int, str, User]]:
        return [
            (tenant, name, user)
            for tenant, history in enumerate(self._histories)
            for name, user in history.now.users.items()
        ]

    def _all_roles(self) -> list[tuple[int, str, Role]]:
        return [
            (tenant, name, role)
            for tenant, history in enumerate(self._histories)
            for name, role in history.now.roles.items()
        ]

    def _granted(self) -> list[tuple[int, str, Rule]]:
        return [(tenant, name, each) for tenant, name, user in self._users() for each in user.rules]

    def _held(self) -> list[tuple[int, str, tuple[str, str]]]:
        return [(tenant, name, each) for tenant, name, user in self._users() for each in user.roles]

    def _ruled(self) -> list[tuple[int, str, Rule]]:
        return [
            (tenant, name, each)
            for tenant, name, role in self._all_roles()
            for each in sorted(role.rules, key=str)
        ]

    def _inheriting(self) -> list[tuple[int, str, str]]:
        return [
            (tenant, name, each)
            for tenant, name, role in self._all_roles()
            for each in sorted(role.parents)
        ]

    # Requests

    @rule(
        pick=picks,
        number=sidecars,
        action=st.sampled_from(sorted(METHODS)),
        resource=st.sampled_from(_RESOURCES),
    )
    def ask(self, pick: int, number: int, action: str, resource: str) -> None:
        tenant, session = self._sessions[pick % len(self._sessions)]
        asked = Question(session, action, resource)
        self._run(self._ask(tenant, number, asked))

    @rule()
    def ask_all(self) -> None:
        for tenant in range(len(self._names)):
            self._run(self._check_all(tenant))

    async def _check_all(self, tenant: int) -> None:
        """Everybody, everything, everywhere."""
        for of, session in self._sessions:
            for action in METHODS if of == tenant else ():
                for resource in _RESOURCES:
                    for number in range(SIDECARS):
                        await self._ask(tenant, number, Question(session, action, resource))

    async def _ask(self, tenant: int, number: int, asked: Question) -> None:
        now = self.plane.clocks.wall()
        await self._check(number, asked, self._histories[tenant].answers(asked, now))

    async def _check(self, number: int, asked: Question, expected: set[bool]) -> None:
        session = asked.session
        denial = await self.plane.ask(number, session.token, asked.action, asked.resource)
        self.told["unsure" if len(expected) > 1 else "refused" if denial else "permitted"] += 1
        why = "" if denial is None else f"{denial.reason}: {denial.detail}"
        if (denial is None) not in expected:
            self.wrong.append(
                f"sidecar {number}: {session.subject} {asked.action} on {asked.resource}: "
                f"{why or 'permitted'}, expected {expected}"
            )
            raise AssertionError(self.wrong[-1])

    # Faults

    @precondition(lambda self: self.plane.redis_is_up)
    @rule()
    def redis_forgets(self) -> None:
        self._run(self.plane.flush())

    @precondition(lambda self: self.plane.redis_is_up)
    @rule()
    def redis_dies(self) -> None:
        self.plane.kill_redis()

    @precondition(lambda self: not self.plane.redis_is_up)
    @rule()
    def redis_returns(self) -> None:
        self.plane.start_redis()

    @precondition(lambda self: self.plane.redis_is_up)
    @rule()
    def subscriptions_end(self) -> None:
        self._run(self.plane.cut_subscriptions())

    @rule(number=sidecars, deaf=st.booleans())
    def lose_messages(self, number: int, deaf: bool) -> None:
        """Nobody is told that they are lost."""
        self.plane.follower(number).deaf = deaf

    @rule(number=sidecars, warm=st.booleans())
    def restart_sidecar(self, number: int, warm: bool) -> None:
        self._run(self.plane.restart(number, warm=warm))

    @rule(seconds=st.sampled_from((0.0, 0.02, 0.1)))
    def wait(self, seconds: float) -> None:
        """Let the sidecars do what they have to do; a little longer than a heartbeat at most."""
        self._run(asyncio.sleep(seconds))
