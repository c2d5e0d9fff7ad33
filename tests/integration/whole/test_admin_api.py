"""Revoking through one sidecar's admin API, and what the others do then."""

import json
from typing import Any

import msgspec
import pytest

from sidecar.embedded import EmbeddedStack
from tests.integration.whole.conftest import Start, Whole, settings

TOKEN = "t" * 32
ADMIN = {"token": TOKEN}


async def call(whole: Whole, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and answer of a call."""
    async with whole.session.request(
        method,
        f"{whole.admin}/admin/v1/tenants/demo{path}",
        headers={"Authorization": f"Bearer {TOKEN}"},
        json=body,
    ) as answer:
        return answer.status, await answer.json()


async def test_what_is_applied_is_refused_everywhere(
    start: Start, database: str, stack: EmbeddedStack
) -> None:
    """PROMISES 13: not one request after the answer, on no sidecar."""
    stores = msgspec.to_builtins(settings(database, stack.redis_url, "http://127.0.0.1:1").stores)
    # There is no old master about, so a young epoch is enough.
    stores["redis"]["isolation_seconds"] = 0.01
    async with start(admin=ADMIN, stores=stores) as first, start(stores=stores) as second:
        both = (first, second)
        for whole in both:
            assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 200
        path = "/users/bob/sessions?ack=applied&ack_seconds=20"
        status, told = await call(first, "DELETE", path)
        assert (status, told["level"], told["revoked"]) == (200, "applied", 2), told
        assert len(told["confirmed"]) == 2
        for whole in both:
            assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 401
        status, again = await call(first, "DELETE", path)
        assert (status, again["level"], again["changed"]) == (200, "applied", False)


async def test_less_than_asked_for_is_not_success_and_is_told(start: Start) -> None:
    async with start(redis=None, admin=ADMIN) as whole:
        status, told = await call(whole, "PUT", "/users/bob/status", {"status": "disabled"})
        assert (status, told["level"]) == (202, "committed")
        assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 401, "here it holds at once"


async def test_the_api_is_on_no_other_listener_and_leaves_a_record(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    sink = {"sink": f"file:{file}", "flush_seconds": 0.01}
    async with start(admin=ADMIN, audit=sink) as whole:
        fields = {"Authorization": f"Bearer {TOKEN}"}
        path = "/admin/v1/tenants/demo/users/bob/sessions"
        assert (await whole.ask("", "DELETE", path, headers=fields))[0] == 404
        assert (await whole.ask("bob", "GET", "/api/orders"))[0] == 200
        await call(whole, "DELETE", "/users/bob/sessions")
        assert await whole.metric('sidecar_admin_calls_total{outcome="published"}') == 1.0
    records = [json.loads(line) for line in file.read_text().splitlines()]
    [record] = [each for each in records if each.get("kind") == "administration"]
    assert (record["what"], record["target"]["subject"]) == ("revoke-sessions", "bob")
    assert TOKEN not in file.read_text()
