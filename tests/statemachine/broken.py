"""The product with one thing left out: what the stories must find."""

from typing import NamedTuple

from sidecar.model.change import ChangeKind
from sidecar.sync.keyspace import News
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
        follower: what the news is applied to.
        sql: statements that break the schema.
    """

    name: str
    follower: type[Hearing] = Hearing
    sql: tuple[str, ...] = ()


BROKEN = [
    BrokenMode("a sidecar ignores news of roles", _NoRoles),
    BrokenMode("a sidecar ignores news of tenants", _NoTenants),
    BrokenMode(
        "taking a grant back has no sequence and no news",
        sql=("ALTER TABLE auth_rule_grant DISABLE TRIGGER announce_delete",),
    ),
]
