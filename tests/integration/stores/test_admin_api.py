"""Each call of the admin API against PostgreSQL: what it changes, and what it refuses."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sidecar.endpoints.admin import AdminEndpoints
from sidecar.endpoints.admin_api import PREFIX, AdminApi
from sidecar.model.change import Change, ChangeKind, Level
from sidecar.model.facts import RoleGraph, User
from sidecar.model.need import ABSENT, RolesNeed, UserNeed
from sidecar.settings.schema import Postgres
from sidecar.store.facts import FactStore
from sidecar.store.outbox import Outbox
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows
from sidecar.sync.announce import Announcer

TOKEN = "t" * 32
USER = "/tenants/acme/users/alice"
NOWHERE = Postgres(dsn="postgresql://127.0.0.1:9/none", pool_wait_seconds=0.1)


class Api:
    """The API, called as a program would.

    Attributes:
        published: what it published.
    """

    def __init__(self, client: TestClient[Any, Any], published: list[Change]) -> None:
        self.client = client
        self.published = published

    async def call(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        answer = await self.client.request(
            method,
            PREFIX + path,
            headers={"Authorization": f"Bearer {TOKEN}"},
            json=body,
        )
        told = await answer.json()
        assert answer.status == status, told
        return told


async def ready() -> str:
    return ""


@asynccontextmanager
async def serving(pool: Pool) -> AsyncIterator[Api]:
    published: list[Change] = []

    async def publish(changes: Sequence[Change]) -> Level:
        published.extend(changes)
        return Level.COMMITTED

    announcer = Announcer(publish, Outbox(pool), None)
    endpoints = AdminEndpoints(ready, lambda: b"", AdminApi(TOKEN, pool, announcer, None))
    async with TestClient(TestServer(endpoints.application())) as client:
        yield Api(client, published)


@pytest.fixture
async def api(pool: Pool, acme: str) -> AsyncIterator[Api]:
    assert acme
    async with serving(pool) as opened:
        yield opened


async def alice(pool: Pool) -> User:
    found = await FactStore(pool).read(UserNeed("acme", "alice"))
    assert isinstance(found, User)
    return found


async def roles(pool: Pool) -> dict[str, tuple[tuple[str, ...], list[tuple[str, str, str]]]]:
    """Parents and rules by role."""
    graph = await FactStore(pool).read(RolesNeed("acme"))
    assert isinstance(graph, RoleGraph)
    return {
        role.name: (
            role.parents,
            [(rule.effect.value, rule.action, rule.resource) for rule in role.rules],
        )
        for role in graph.roles
    }


async def test_statuses(api: Api, pool: Pool) -> None:
    told = await api.call("PUT", f"{USER}/status", {"status": "disabled"}, 202)
    assert (told["subject"], told["status"], told["changed"]) == ("alice", "disabled", True)
    assert (told["level"], "no Redis" in told["why"]) == ("committed", True)
    assert (await alice(pool)).status == "disabled"
    assert [(each.kind, each.subject) for each in api.published] == [(ChangeKind.USER, "alice")]
    told = await api.call("PUT", f"{USER}/status?ack=committed", {"status": "disabled"})
    assert told["changed"] is False
    await api.call("PUT", f"{USER}/status?ack=committed", {"status": "active"})
    assert (await alice(pool)).status == "active"
    await api.call("PUT", "/tenants/acme/status?ack=committed", {"status": "disabled"})
    assert (await alice(pool)).status == "disabled"
    await api.call("PUT", "/tenants/acme/status?ack=committed", {"status": "active"})


async def test_sessions(api: Api, pool: Pool) -> None:
    rows = SessionRows(pool)
    for number in range(3):
        await rows.create(bytes([number]) * 32, f"s{number}", "acme", "alice", time.time() + 60)
    told = await api.call("DELETE", "/tenants/acme/sessions/s1?ack=committed")
    assert (told["session"], told["revoked"]) == ("s1", 1)
    ended = {row.id: row.revoked_at is not None for row in await rows.list("acme")}
    assert ended == {"s0": False, "s1": True, "s2": False}
    told = await api.call("DELETE", f"{USER}/sessions?ack=committed")
    assert told["revoked"] == 2
    assert all(row.revoked_at for row in await rows.list("acme"))
    assert (await api.call("DELETE", f"{USER}/sessions?ack=committed"))["revoked"] == 0


async def test_roles_of_a_user(api: Api, pool: Pool) -> None:
    path = f"{USER}/roles/reader"
    body = {"resource": "orders/1", "expires_at": 2_000_000_000}
    await api.call("PUT", f"{path}?ack=committed", body)
    held = {(each.role, each.resource, each.expires_at) for each in (await alice(pool)).roles}
    assert held == {("editor", "*", None), ("reader", "orders/1", 2e9)}
    assert "does not hold" in (await api.call("DELETE", path, status=404))["message"]
    await api.call("DELETE", f"{path}?resource=orders/1&ack=committed")
    await api.call("DELETE", f"{USER}/roles/editor?ack=committed")
    assert (await alice(pool)).roles == ()


async def test_permissions_of_a_user(api: Api, pool: Pool) -> None:
    path = f"{USER}/permissions"
    await api.call("POST", f"{path}?ack=committed", {"action": "a:read", "expires_at": None})
    await api.call("POST", f"{path}?ack=committed", {"action": "a:b", "effect": "deny"})
    held = {(each.rule.effect.value, each.rule.action) for each in (await alice(pool)).rules}
    assert held == {("allow", "a:read"), ("deny", "a:b")}
    await api.call("DELETE", f"{path}?action=a:b", status=404)
    await api.call("DELETE", f"{path}?action=a:b&effect=deny&ack=committed")
    await api.call("DELETE", f"{path}?action=a:read&ack=committed")
    assert (await alice(pool)).rules == ()


async def test_roles(api: Api, pool: Pool) -> None:
    body = {"action": "orders:delete", "effect": "deny", "resource": "orders/1"}
    await api.call("POST", "/tenants/acme/roles/reader/rules?ack=committed", body)
    rules = [("allow", "orders:read", "*"), ("deny", "orders:delete", "orders/1")]
    assert sorted((await roles(pool))["reader"][1]) == rules
    query = "action=orders:delete&effect=deny&resource=orders/1&ack=committed"
    await api.call("DELETE", f"/tenants/acme/roles/reader/rules?{query}")
    assert (await roles(pool))["reader"][1] == rules[:1]
    parents = "/tenants/acme/roles/{}/parents/{}?ack=committed"
    told = await api.call("PUT", parents.format("reader", "editor"), {}, 409)
    assert told["error"] == "refused"
    await api.call("DELETE", parents.format("editor", "reader"))
    await api.call("PUT", parents.format("reader", "editor"), {})
    assert (await roles(pool))["reader"][0] == ("editor",)
    await api.call("DELETE", "/tenants/acme/roles/editor?ack=committed")
    assert set(await roles(pool)) == {"reader"}


async def test_a_user_is_deleted(api: Api, pool: Pool) -> None:
    await api.call("DELETE", f"{USER}?ack=committed")
    assert await FactStore(pool).read(UserNeed("acme", "alice")) is ABSENT
    assert (await api.call("DELETE", USER, status=404))["error"] == "not-found"


@pytest.mark.parametrize(
    ("method", "path", "body", "part"),
    [
        ("PUT", "/tenants/none/status", {"status": "active"}, 'no tenant "none"'),
        ("PUT", "/tenants/acme/users/bob/status", {"status": "active"}, 'no user "bob"'),
        ("DELETE", "/tenants/acme/sessions/s9", None, 'no session "s9"'),
        ("DELETE", "/tenants/none/users/alice/sessions", None, 'no user "alice"'),
        ("PUT", f"{USER}/roles/none", {}, "no such role"),
        ("PUT", "/tenants/acme/users/bob/roles/reader", {}, "no such user"),
        ("DELETE", "/tenants/acme/roles/none", None, 'no role "none"'),
        ("POST", "/tenants/acme/roles/none/rules", {"action": "a:b"}, "no such role"),
        ("DELETE", "/tenants/acme/roles/reader/rules?action=x", None, "has no rule"),
        ("PUT", "/tenants/acme/roles/reader/parents/none", {}, "no such parent"),
        ("DELETE", "/tenants/acme/roles/reader/parents/none", None, "does not inherit"),
    ],
)
async def test_what_does_not_exist(
    api: Api, method: str, path: str, body: object, part: str
) -> None:
    told = await api.call(method, path, body, 404)
    assert part in told["message"]
    assert api.published == []


@pytest.mark.parametrize(
    ("method", "path", "body", "part"),
    [
        ("POST", f"{USER}/permissions", {"action": "two words"}, "an action has"),
        ("POST", f"{USER}/permissions", {"action": "a:b", "resource": ""}, "a resource has"),
        ("POST", f"{USER}/permissions", {"action": "a\u0000b"}, "cannot be stored"),
        ("PUT", f"{USER}/roles/reader", {"expires_at": 1e300}, "`expires_at`"),
        ("PUT", f"{USER}/roles/reader", {"resource": "x" * 1025}, "a resource has"),
        ("POST", "/tenants/acme/roles/reader/rules", {"action": ""}, "an action has"),
        ("PUT", "/tenants/%00/status", {"status": "active"}, "cannot be stored"),
    ],
)
async def test_what_has_not_the_form_of_one(
    api: Api, method: str, path: str, body: object, part: str
) -> None:
    told = await api.call(method, path, body, 422)
    assert part in told["message"]
    assert api.published == []


async def test_without_postgresql_nothing_is_done() -> None:
    """PROMISES 16."""
    async with Pool(NOWHERE) as pool, serving(pool) as api:
        told = await api.call("DELETE", f"{USER}/sessions?ack=committed", status=503)
        assert told["error"] == "not-stored"
        assert api.published == []
