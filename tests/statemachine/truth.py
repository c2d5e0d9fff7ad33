"""What must be allowed: a plain model of one tenant, and of what is answered while news travels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sidecar.model.facts import Effect, Rule


class Held(NamedTuple):
    """A role held by a user on some resources, perhaps until a wall-clock instant."""

    role: str
    scope: str
    until: float | None


class Granted(NamedTuple):
    """A rule granted to a user, perhaps until a wall-clock instant."""

    rule: Rule
    until: float | None


@dataclass(frozen=True)
class User:
    """A user; what is held is keyed by what makes it one row in the stores."""

    active: bool = True
    roles: Mapping[tuple[str, str], Held] = field(default_factory=dict)
    rules: Mapping[Rule, Granted] = field(default_factory=dict)


@dataclass(frozen=True)
class Role:
    """A role of its own rules and parents."""

    parents: frozenset[str] = frozenset()
    rules: frozenset[Rule] = frozenset()


@dataclass(frozen=True)
class Tenant:
    """The truth about one tenant at one moment. Nothing in it is ever changed in place.

    Attributes:
        active: whether it is.
        users: by name.
        roles: by name.
        ended: ids of sessions that were signed out or revoked.
    """

    active: bool = True
    users: Mapping[str, User] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()

    def with_user(self, name: str, user: User) -> "Tenant":
        """The same but for one user."""
        return replace(self, users={**self.users, name: user})

    def with_role(self, name: str, role: Role) -> "Tenant":
        """The same but for one role."""
        return replace(self, roles={**self.roles, name: role})

    def without_role(self, name: str) -> "Tenant":
        """Whoever held or inherited it no longer does."""
        return replace(
            self,
            roles={
                each: replace(role, parents=role.parents - {name})
                for each, role in self.roles.items()
                if each != name
            },
            users={
                each: replace(
                    user,
                    roles={key: held for key, held in user.roles.items() if held.role != name},
                )
                for each, user in self.users.items()
            },
        )

    def inherited(self, role: str) -> frozenset[str]:
        """`role` and all it inherits."""
        found: set[str] = set()
        open_ = [role]
        while open_:
            name = open_.pop()
            if name not in found and name in self.roles:
                found.add(name)
                open_ += self.roles[name].parents
        return frozenset(found)


class Session(NamedTuple):
    """A session that was issued; whether it has ended is said by the tenant."""

    token: str
    id: str
    subject: str
    expires_at: float


class Question(NamedTuple):
    """May the holder of `session` do `action` on `resource`?"""

    session: Session
    action: str
    resource: str


def allowed(asked: Question, parts: tuple[Tenant, Tenant, Tenant], now: float) -> bool:
    """The answer at the wall-clock instant `now`.

    Args:
        asked: the question.
        parts: what is known of the session, of the user, and of the roles. News about each travel
            alone, so a sidecar may know them as they were at different moments.
        now: the time.
    """
    of_session, of_user, of_roles = parts
    session, user = asked.session, of_user.users[asked.session.subject]
    if asked.session.id in of_session.ended or now >= session.expires_at:
        return False
    if not (of_user.active and user.active and of_roles.active):
        return False
    effects = {rule.effect for rule in _rules(user, of_roles, asked, now) if _speaks(rule, asked)}
    return effects == {Effect.ALLOW}


def _rules(user: User, of_roles: Tenant, asked: Question, now: float) -> Iterator[Rule]:
    for granted in user.rules.values():
        if granted.until is None or now < granted.until:
            yield granted.rule
    for held in user.roles.values():
        in_time = held.until is None or now < held.until
        if in_time and covers(held.scope, asked.resource):
            for name in of_roles.inherited(held.role):
                yield from of_roles.roles[name].rules


def _speaks(rule: Rule, asked: Question) -> bool:
    space, _, rest = rule.action.partition(":")
    names = rule.action in {"*", asked.action} or (
        rest == "*" and asked.action.startswith(f"{space}:")
    )
    return names and covers(rule.resource, asked.resource)


def covers(pattern: str, resource: str) -> bool:
    """Only the patterns of these tests: ``*``, ``orders/*``, ``orders/1``."""
    if pattern == "*":
        return True
    return pattern == resource or (pattern == "orders/*" and resource.startswith("orders/"))


class History:
    """What a tenant was since the last moment that everybody must know of.

    Attributes:
        states: the first is certain, the last is what PostgreSQL holds.
        published: how many of the changes Redis has been told of for certain.
    """

    def __init__(self, first: Tenant) -> None:
        self.states = [first]
        self.published = 0

    @property
    def now(self) -> Tenant:
        """What PostgreSQL holds."""
        return self.states[-1]

    def change(self, after: Tenant) -> None:
        """It was committed; who was told is another matter."""
        self.states.append(after)

    def reach_redis(self) -> None:
        """Redis was told of all (in order, R3)."""
        self.published = len(self.states) - 1

    def be_certain(self, *, all_of_it: bool = True) -> None:
        """Everybody must know all that was committed, or all that was published."""
        known = len(self.states) - 1 if all_of_it else self.published
        del self.states[:known]
        self.published -= min(self.published, known)

    def answers(self, asked: Question, now: float) -> set[bool]:
        """What may be answered: one answer, but for news that is still on its way."""
        states = self.states
        return {
            allowed(asked, (one, other, third), now)
            for one in states
            for other in states
            for third in states
        }
