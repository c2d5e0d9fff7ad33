"""`sidecar explain` against real stores: the same decision, and all that led to it."""

import pytest

from sidecar.assembly.explaining import open_decider
from sidecar.cli.explain import raw_head, read_head
from sidecar.demo.tenant import prepare
from sidecar.embedded import EmbeddedStack
from sidecar.model.decision import Denial
from sidecar.model.errors import StoresUnavailable
from sidecar.model.explanation import Explanation
from sidecar.settings.schema import Postgres, Root
from sidecar.store.pool import Pool
from tests.integration.whole.conftest import KEY, settings


async def explain(root: Root, method: str, target: str, token: str) -> Explanation:
    head = read_head(root, raw_head(root, method, target, "h", token))
    assert not isinstance(head, Denial)
    async with open_decider(root) as decider:
        return await decider.explain(head)


@pytest.fixture
async def tokens(database: str) -> dict[str, str]:
    async with Pool(Postgres(dsn=database)) as pool:
        return await prepare(pool, KEY, {})


async def test_a_permit_by_an_inherited_role(
    database: str, stack: EmbeddedStack, tokens: dict[str, str]
) -> None:
    root = settings(database, stack.redis_url, "http://127.0.0.1:1")
    found = await explain(root, "GET", "/api/orders/7", tokens["CAROL_TOKEN"])
    assert (found.permitted, found.reason, found.status) == (True, "granted", None)
    assert found.route is not None
    assert found.route.template == "/api/orders/{order_id}"
    assert (found.parameters, found.resource) == ({"order_id": "7"}, "orders/7")
    assert found.principal is not None
    assert found.principal.subject == "carol"
    assert found.origin is not None
    assert found.origin.path == ("auditor", "reader")
    assert [step.kind for step in found.steps] == ["session", "user", "roles"]
    assert all(step.version is not None for step in found.steps)
    # Once more in another process' place: Redis has the facts now.
    again = await explain(root, "GET", "/api/orders/7", tokens["CAROL_TOKEN"])
    assert {step.tier for step in again.steps} <= {"redis", "postgres"}
    assert (again.permitted, again.origin) == (True, found.origin)


@pytest.mark.parametrize(
    ("method", "target", "user", "reason", "status"),
    [
        ("DELETE", "/api/orders/7", "BOB_TOKEN", "not-granted", 403),
        ("GET", "/api/orders", "MALLORY_TOKEN", "user-disabled", 401),
        ("GET", "/nowhere", "BOB_TOKEN", "unknown-route", 404),
        ("PUT", "/api/orders", "BOB_TOKEN", "method-not-allowed", 405),
    ],
)
async def test_refusals(
    database: str, tokens: dict[str, str], method: str, target: str, user: str, reason: str,
    status: int,
) -> None:  # fmt: skip
    root = settings(database, None, "http://127.0.0.1:1")
    found = await explain(root, method, target, tokens[user])
    assert (found.permitted, found.reason, found.status) == (False, reason, status)
    assert bool(found.allow) is (status == 405)


async def test_a_session_that_never_was(database: str, tokens: dict[str, str]) -> None:
    root = settings(database, None, "http://127.0.0.1:1")
    async with Pool(Postgres(dsn=database)) as pool:
        await pool.fetch("DELETE FROM auth_session RETURNING 1")
    found = await explain(root, "GET", "/api/orders", tokens["BOB_TOKEN"])
    assert found.reason == "unknown-session"
    assert [step.tier for step in found.steps] == ["absent"]


async def test_no_store(tokens: dict[str, str]) -> None:
    root = settings("postgresql://x@127.0.0.1:9/x", None, "http://127.0.0.1:1")
    with pytest.raises(StoresUnavailable):
        await explain(root, "GET", "/api/orders", tokens["BOB_TOKEN"])
