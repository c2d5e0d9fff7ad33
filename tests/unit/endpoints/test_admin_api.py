"""The admin API's door and its answers, before operations that do what a test tells them."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from sidecar.audit.administration import Administration
from sidecar.endpoints import admin_api, admin_reading
from sidecar.endpoints.admin import AdminEndpoints
from sidecar.endpoints.admin_api import PREFIX, AdminApi
from sidecar.endpoints.admin_changes import (
    OPERATIONS,
    Call,
    Done,
    NamedRule,
    Operation,
    StatusBody,
)
from sidecar.model.change import Change, ChangeKind, Level
from sidecar.model.errors import Invalid, NotFound, Refused, StoresUnavailable
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from sidecar.sync.acknowledge import Acknowledgement
from sidecar.sync.announce import Announcer, Wanted

TOKEN = "t0ken-" + "x" * 32
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
CHANGE = Change(3, 7, ChangeKind.USER, "acme", "ann")
DISABLE = {"status": "disabled"}
Client = TestClient[Any, Any]


class Scripted(Announcer):
    """An announcer that comes as far as a test says."""

    def __init__(self) -> None:
        self.came = Acknowledgement(Level.PUBLISHED, 0.002)
        self.asked: list[tuple[str, Sequence[Change], Wanted]] = []
        self.fails = False

    async def announce(
        self, tenant: str, changes: Sequence[Change], wanted: Wanted
    ) -> Acknowledgement:
        self.asked.append((tenant, changes, wanted))
        if self.fails:
            raise RuntimeError("hunter2")
        return self.came


class World:
    """The API, with two operations; and what it did."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.error: Exception | None = None
        self.changes: tuple[Change, ...] = (CHANGE,)
        self.announcer = Scripted()
        self.records: list[Administration] = []
        pool = Pool(Postgres(dsn="postgresql://127.0.0.1:9/none"))
        self.api = AdminApi(TOKEN, pool, self.announcer, self.records.append)

    async def run(self, call: Call) -> Done:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return Done({"done": True}, self.changes)

    def operations(self) -> tuple[Operation, ...]:
        return (
            Operation("set", "PUT", "/tenants/{tenant}/users/{subject}", self.run, StatusBody),
            Operation("drop", "DELETE", "/tenants/{tenant}/rules", self.run, query=NamedRule),
        )


@pytest.fixture
def world() -> World:
    return World()


async def ready() -> str:
    return ""


@pytest.fixture
async def client(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(admin_api, "OPERATIONS", world.operations())
    application = AdminEndpoints(ready, lambda: b"", world.api).application()
    server = TestServer(application)
    # As it is served.
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as opened:
        yield opened


ANN = f"{PREFIX}/tenants/acme/users/ann"
RULES = f"{PREFIX}/tenants/acme/rules"


async def test_a_change_is_made_announced_and_told(client: Client, world: World) -> None:
    answer = await client.put(f"{ANN}?ack=published", json=DISABLE, headers=HEADERS)
    assert answer.status == 200
    assert await answer.json() == {
        "tenant": "acme",
        "subject": "ann",
        "done": True,
        "changed": True,
        "level": "published",
        "seconds": 0.002,
        "confirmed": [],
        "waiting_for": [],
        "why": "",
    }
    assert world.announcer.asked == [("acme", (CHANGE,), Wanted(Level.PUBLISHED, 10.0))]
    assert world.calls[0].body == StatusBody(status="disabled")  # type: ignore[arg-type]  # equal
    assert answer.headers["Cache-Control"] == "no-store"
    [record] = world.records
    assert record.request_id == answer.headers["X-Request-Id"]
    assert (record.who, record.what, record.outcome) == ("admin-api", "set", "permit")
    assert (record.reason, record.status) == ("published", 200)
    assert record.target == {"tenant": "acme", "subject": "ann"}
    assert record.asked == {"ack": "published", "ack_seconds": 10.0, "status": "disabled"}
    assert msgspec.json.decode(msgspec.json.encode(record))["kind"] == "administration"
    assert TOKEN not in repr(record)
    assert world.api.outcomes == {"published": 1}


@pytest.mark.parametrize(
    ("asked", "came", "status"),
    [
        ("committed", Level.COMMITTED, 200),
        ("committed", Level.PUBLISHED, 200),
        ("published", Level.COMMITTED, 202),
        ("published", Level.PUBLISHED, 200),
        ("applied", Level.COMMITTED, 202),
        ("applied", Level.PUBLISHED, 202),
        ("applied", Level.APPLIED, 200),
    ],
)
async def test_success_is_what_was_asked_for_and_no_less(
    client: Client, world: World, asked: str, came: Level, status: int
) -> None:
    world.announcer.came = Acknowledgement(came, 0.5, ("m1",), ("m2",), "because")
    path = f"{ANN}?ack={asked}&ack_seconds=2.5"
    answer = await client.put(path, json=DISABLE, headers=HEADERS)
    assert answer.status == status
    told = await answer.json()
    assert (told["level"], told["confirmed"], told["waiting_for"]) == (came, ["m1"], ["m2"])
    assert told["why"] == "because"
    assert world.announcer.asked[0][2] == Wanted(Level(asked), 2.5)


async def test_what_is_so_already_is_told(client: Client, world: World) -> None:
    world.changes = ()
    answer = await client.put(ANN, json=DISABLE, headers=HEADERS)
    assert (answer.status, (await answer.json())["changed"]) == (200, False)
    assert world.announcer.asked == [("acme", (), Wanted())]


async def test_names_may_hold_what_paths_do_not(client: Client) -> None:
    for written, name in (("auth0%7Cann%2Fx", "auth0|ann/x"), ("%C3%A9%25", "é%"), ("a:b", "a:b")):
        path = f"{PREFIX}/tenants/acme/users/{written}"
        # As written, not as yarl would write it.
        url = URL(f"http://{client.host}:{client.port}{path}", encoded=True)
        answer = await client.session.put(url, json=DISABLE, headers=HEADERS)
        assert (await answer.json())["subject"] == name


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound('there is no user "ann"'), 404, "not-found"),
        (Refused("a role cannot inherit itself"), 409, "refused"),
        (Invalid("an action has 1 to 255 characters"), 422, "invalid"),
    ],
)
async def test_a_refusal_says_why(
    client: Client, world: World, error: Exception, status: int, code: str
) -> None:
    world.error = error
    answer = await client.put(ANN, json=DISABLE, headers=HEADERS)
    assert answer.status == status
    assert await answer.json() == {"error": code, "message": str(error)}
    assert world.announcer.asked == []
    assert (world.records[0].outcome, world.records[0].reason) == ("deny", code)


async def test_what_was_not_stored_is_no_success(client: Client, world: World) -> None:
    """PROMISES 16."""
    world.error = StoresUnavailable("hunter2")
    answer = await client.put(f"{ANN}?ack=committed", json=DISABLE, headers=HEADERS)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    told = await answer.json()
    assert told["error"] == "not-stored"
    assert "hunter2" not in told["message"]
    assert (world.records[0].outcome, world.records[0].status) == ("fault", 503)


@pytest.mark.parametrize("where", ["operation", "announcer"])
async def test_a_bug_is_no_success(
    client: Client, world: World, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.error = RuntimeError("hunter2") if where == "operation" else None
    world.announcer.fails = True
    answer = await client.put(ANN, json=DISABLE, headers=HEADERS)
    assert answer.status == 500
    assert "hunter2" not in await answer.text()
    assert answer.headers["X-Request-Id"] in caplog.text
    assert world.records[0].outcome == "fault"


@pytest.mark.parametrize(
    ("body", "field", "part"),
    [
        ({"status": "off"}, "status", "'off' - at `status`"),
        ({"status": 1}, "status", "Expected `str`"),
        ({}, "status", "missing required field `status`"),
        ({"status": "active", "stauts": 1}, "stauts", "unknown field `stauts`"),
        ([], "", "Expected `object`"),
    ],
)
async def test_a_wrong_body_names_its_field(
    client: Client, world: World, body: object, field: str, part: str
) -> None:
    answer = await client.put(ANN, json=body, headers=HEADERS)
    told = await answer.json()
    assert (answer.status, told["error"], told.get("field", "")) == (422, "invalid", field)
    assert part in told["message"]
    assert world.calls == []
    assert world.records[0].outcome == "deny"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("akc=applied", "akc"),
        ("ack=done", "ack"),
        ("ack=applied&ack=committed", "ack"),
        ("ack_seconds=0", "ack_seconds"),
        ("ack_seconds=61", "ack_seconds"),
        ("ack_seconds=nan", "ack_seconds"),
        ("ack_seconds=soon", "ack_seconds"),
    ],
)
async def test_a_wrong_query_names_its_field(
    client: Client, world: World, query: str, field: str
) -> None:
    answer = await client.put(f"{ANN}?{query}", json=DISABLE, headers=HEADERS)
    assert (answer.status, (await answer.json())["field"]) == (422, field)
    assert world.calls == []


async def test_deleting_names_what_by_the_query(client: Client, world: World) -> None:
    path = f"{RULES}?action=orders:read&effect=deny&ack=committed"
    assert (await client.delete(path, headers=HEADERS)).status == 200
    asked = world.calls[0].query
    assert (asked.action, asked.effect, asked.resource) == ("orders:read", "deny", "*")
    answer = await client.delete(RULES, headers=HEADERS)
    assert (answer.status, (await answer.json())["field"]) == (422, "action")
    answer = await client.delete(path, headers=HEADERS, json=DISABLE)
    assert answer.status == 400


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Authorization": ""},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer  {TOKEN}"},
        {"Authorization": "Bearer \udcff"},
        {"X-Token": TOKEN},
    ],
    ids=str,
)
async def test_only_who_holds_the_token_may_call(
    client: Client, world: World, fields: dict[str, str]
) -> None:
    for path in (ANN, f"{PREFIX}/nothing", PREFIX + "/"):
        answer = await client.put(path, json=DISABLE, headers=fields)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert world.calls == []
    assert world.api.outcomes == {"unauthenticated": 3}


async def test_two_tokens_are_none(client: Client, world: World) -> None:
    fields = [("Authorization", "Bearer x"), ("Authorization", f"Bearer {TOKEN}")]
    assert (await client.put(ANN, json=DISABLE, headers=fields)).status == 401
    assert world.calls == []


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Sec-Fetch-Mode": "no-cors"},
    ],
    ids=str,
)
async def test_browsers_are_kept_out_even_with_the_token(
    client: Client, world: World, fields: dict[str, str]
) -> None:
    """CSRF and DNS rebinding (OWASP); nothing of CORS is answered either."""
    answer = await client.put(ANN, json=DISABLE, headers=HEADERS | fields)
    assert (answer.status, (await answer.json())["error"]) == (403, "browser")
    preflight = fields | {"Access-Control-Request-Method": "PUT"}
    answer = await client.options(ANN, headers=preflight)
    assert answer.status in {401, 403}
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert world.calls == []


async def test_a_flood_of_guesses_fills_no_log(
    client: Client, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        await client.put(ANN, json=DISABLE)
    assert caplog.text.count("from 127.0.0.1 refused, the last one: unauthenticated") == 1
    assert world.api.outcomes["unauthenticated"] == 20
    [record] = world.records
    assert (record.what, record.outcome, record.reason) == ("refused", "deny", "unauthenticated")
    assert (record.client, record.status, record.target) == ("127.0.0.1", 401, {})
    assert record.asked == {"call": f"PUT {ANN}", "calls": 1}
    assert len(record.request_id) == 32


async def test_who_is_refused_without_an_audit_is_in_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(world.api, "_audit", None)
    application = AdminEndpoints(ready, lambda: b"", world.api).application()
    async with TestClient(TestServer(application)) as client:
        answer = await client.get(f"{PREFIX}/{'x' * 500}", headers=HEADERS | {"Origin": "http://a"})
    assert answer.status == 403
    assert "1 call(s) from 127.0.0.1 refused, the last one: browser" in caplog.text


async def test_what_a_refused_call_asked_is_kept_bounded(client: Client, world: World) -> None:
    await client.get(f"{PREFIX}/%0a{'x' * 500}")
    assert len(world.records[0].asked["call"]) == 200
    assert world.records[0].asked["call"].startswith(f"GET {PREFIX}/%0Ax")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", "x", ""])
async def test_no_body_is_unpacked(client: Client, world: World, encoding: str) -> None:
    """Also not where nothing would be unpacked: there is one way to send a body."""
    fields = HEADERS | {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await client.put(ANN, data=b'{"status": "disabled"}', headers=fields)
    assert (answer.status, (await answer.json())["error"]) == (415, "encoded")
    assert world.calls == []
    assert (await client.put(ANN, json=DISABLE, headers=HEADERS)).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_is_json(client: Client, world: World, kind: str) -> None:
    fields = HEADERS | {"Content-Type": kind}
    answer = await client.put(ANN, data=b'{"status": "disabled"}', headers=fields)
    assert answer.status == 415
    assert world.calls == []


@pytest.mark.parametrize("body", [b"", b"{", b'{"status": "\xff"}', b"[" * 10_000])
async def test_a_body_that_is_none_is_malformed(client: Client, body: bytes) -> None:
    fields = HEADERS | {"Content-Type": "application/json; charset=utf-8"}
    answer = await client.put(ANN, data=body, headers=fields)
    assert answer.status in {400, 422}


async def test_a_body_has_an_end(client: Client, world: World) -> None:
    fields = HEADERS | {"Content-Type": "application/json"}
    answer = await client.put(ANN, data=b" " * 65_537, headers=fields)
    assert (answer.status, (await answer.json())["error"]) == (413, "too-large")
    assert (await client.put(ANN, json=DISABLE, headers=HEADERS)).status == 200
    assert len(world.calls) == 1


async def test_a_body_comes_in_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_reading, "_BODY_SECONDS", 0.01)
    held = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await held.wait()

    fields = HEADERS | {"Content-Type": "application/json"}
    answer = await client.put(ANN, data=slowly(), headers=fields)
    assert answer.status == 408
    held.set()


async def test_a_path_or_method_that_is_none(client: Client) -> None:
    answer = await client.get(f"{PREFIX}/nothing", headers=HEADERS)
    assert (answer.status, (await answer.json())["error"]) == (404, "not-found")
    answer = await client.get(ANN, headers=HEADERS)
    assert (answer.status, answer.headers["Allow"]) == (405, "PUT")


async def test_without_a_token_there_is_no_api() -> None:
    application = AdminEndpoints(ready, lambda: b"").application()
    async with TestClient(TestServer(application)) as client:
        assert (await client.put(ANN, json=DISABLE, headers=HEADERS)).status == 404
        assert (await client.get("/healthz")).status == 200


async def test_health_needs_no_token(client: Client) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await client.get(path)).status == 200


DOCUMENT = (Path(__file__).parents[3] / "docs" / "admin-api.md").read_text(encoding="utf-8")


def test_the_documentation_has_every_route_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(/[^`]*)` \| (.*?) \|", DOCUMENT, re.MULTILINE)
    told = {(method, path) for method, path, _ in rows}
    assert told == {(each.method, each.path) for each in OPERATIONS}
    shapes = {(method, path): shape for method, path, shape in rows}
    for each in OPERATIONS:
        asked = each.body or each.query
        shape = shapes[each.method, each.path]
        own = set(asked.__struct_fields__) - {"ack", "ack_seconds"}
        assert {name.rstrip("?") for name in re.findall(r"`([a-z_]+\??)`", shape)} == own
        defaults = {field.name for field in msgspec.structs.fields(asked) if not field.required}
        optional = {name[:-1] for name in re.findall(r"`([a-z_]+\?)`", shape)}
        assert optional == defaults & own


def test_operations_are_told_apart() -> None:
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert all(f"`{each.name}`" in DOCUMENT for each in OPERATIONS)


@pytest.mark.parametrize("example", re.findall(r"curl .*?(?:\n\n|```)", DOCUMENT, re.DOTALL))
def test_the_examples_call_what_there_is(example: str) -> None:
    found = re.search(r"\$API(/[^\"?\s]*)", example)
    assert found is not None
    method = re.search(r"-X (\w+)", example)
    assert method is not None
    patterns = [
        re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(each.path))
        for each in OPERATIONS
        if each.method == method[1]
    ]
    assert any(re.fullmatch(pattern, found[1]) for pattern in patterns), example
