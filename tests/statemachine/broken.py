"""The product with one thing left out: what the stories must find."""

from collections.abc import Callable
from typing import NamedTuple

from sidecar.model.change import ChangeKind, Level
from sidecar.sync.keyspace import News
from tests.statemachine.machine import Machine
from tests.statemachine.plane import Hearing


class _NoRoles(Hearing):
    def _forget(self, news: News) -> None:
        if news.kind is not ChangeKind.ROLES:
            super()._forget(news)


class _NoTenants(Hearing):
    def _forget(self, news: News) -> None:
        if news.kind is not ChangeKind.TENANT:
            super()._forget(news)


class BrokenMode(NamedTuple):
    """What is broken.

    Attributes:
        name: for people.
        story: the last step of a short one that shows it, after everybody asked for everything.
        follower: what the news is applied to.
        sql: statements that break the schema.
    """

    name: str
    story: Callable[[Machine], None]
    follower: type[Hearing] = Hearing
    sql: tuple[str, ...] = ()


BROKEN = [
    BrokenMode(
        "a sidecar ignores news of roles",
        lambda machine: machine.remove_rule(pick=0, level=Level.APPLIED),
        _NoRoles,
    ),
    BrokenMode(
        "a sidecar ignores news of tenants",
        lambda machine: machine.disable_or_enable_tenant(tenant=0, level=Level.APPLIED),
        _NoTenants,
    ),
    BrokenMode(
        "taking a grant back has no sequence and no news",
        lambda machine: machine.revoke_grant(pick=0, level=Level.APPLIED),
        sql=("ALTER TABLE auth_rule_grant DISABLE TRIGGER announce_delete",),
    ),
]
