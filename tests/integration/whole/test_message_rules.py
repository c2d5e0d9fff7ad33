"""Message rules through the whole sidecar: what is refused never reaches the other side."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from sidecar.assembly.explaining import open_decider
from sidecar.cli.explain import raw_head, read_head
from sidecar.demo.tenant import prepare
from sidecar.embedded import EmbeddedStack
from sidecar.model.decision import Denial
from sidecar.model.explanation import AskedMessage
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from tests.integration.whole.conftest import KEY, Start, Whole, settings
from tests.integration.whole.sockets import Peer
from tests.unit.relay.wire import CONTINUATION, PING, PONG, TEXT, frame

ADMIN: Final = {"token": "t" * 32}
DOCUMENT: Final = "{ me { name } }"
RULES: Final[list[dict[str, Any]]] = [
    {"type": "read", "permission": "orders:read"},
    {"type": "create", "permission": "orders:create", "resource": "shops/{shop}"},
    {"type": "ping", "access": "route"},
    {"type": "stop", "access": "nobody"},
]
FILTERED: Final = {"direction": "server", "type": "create", "permission": "orders:create"}
MESSAGES: Final[dict[str, dict[str, Any]]] = {
    "json": {
        "protocol": "json",
        "id_pointer": "/id",
        "error": '{"type": "error", "re": "{id}", "code": "{code}"}',
        "rules": RULES,
    },
    "loud": {"protocol": "json", "error": json.dumps(["{code}", "!" * 10_000]), "rules": RULES},
    "closing": {"protocol": "json", "refused": "close", "rules": RULES},
    "rpc": {
        "protocol": "json-rpc",
        "rules": [*RULES, {"type": "second", "permission": "orders:create",
                           "resource": "orders/{order}", "fields": {"order": "/params/1"}}],
    },
    "formed": {
        "protocol": "json-rpc",
        "refused": "close",
        "rules": [
            {"type": "note", "access": "route", "schema": {"type": "object", "required": ["text"]}},
            {"type": "note", "direction": "server", "access": "route",
             "schema": {"type": "object", "maxProperties": 1}},
        ],
    },
    "filtered": {
        "protocol": "json",
        "refused": "drop",
        "rules": [{"type": "*", "access": "route"}, FILTERED],
        "unknown_from_server": "allow",
    },
    "hook": {
        "protocol": "hook",
        "hook": "tests.integration.whole.hooks:read",
        "error": '["no", "{code}", "{id}"]',
        "rules": [{"type": "MAKE", "permission": "orders:create",
                   "resource": "orders/{order}", "fields": {"order": "/0"}}],
    },
    "stomp": {
        "protocol": "stomp",
        "rules": [{"type": "SEND", "topic": "/shops/{id}", "permission": "orders:create",
                   "resource": "shops/{id}"}],
    },
    "graphql": {
        "protocol": "graphql-transport-ws",
        "rules": [{"type": "subscribe", "permission": "orders:create",
                   "documents": [hashlib.sha256(DOCUMENT.encode()).hexdigest()]}],
    },
}  # fmt: skip
NAMED: Final = {name: f"query {name} {{ orders {{ id }} }}" for name in ("Mine", "All")}
MESSAGES["answers"] = {
    "protocol": "graphql-transport-ws",
    "rules": [
        *({"type": "subscribe", "topic": name, "access": "route",
           "documents": [hashlib.sha256(document.encode()).hexdigest()]}
          for name, document in NAMED.items()),
        {"type": "next", "direction": "server", "topic": "All", "permission": "orders:create"},
        {"type": "next", "direction": "server", "topic": "Mine", "access": "route"},
    ],
}  # fmt: skip
ROUTES: Final[list[dict[str, Any]]] = [
    {"path": f"/{name}/{{shop}}", "access": "authenticated", "websocket": {"messages": messages}}
    for name, messages in MESSAGES.items()
]


class Echo:
    """An application that repeats what it gets; of GraphQL, what a `ping` asks it to say.

    Attributes:
        got: what it got, in order.
    """

    def __init__(self) -> None:
        self.got: list[str] = []

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("graphql-transport-ws", "v12.stomp", "other"))
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.got.append(message.data)
                if not request.path.startswith("/answers/"):
                    await socket.send_str(message.data)
                elif message.json()["type"] == "ping":
                    await socket.send_json(message.json()["payload"])
        return socket


@asynccontextmanager
async def relayed(start: Start, **sections: Any) -> AsyncIterator[tuple[Whole, Echo]]:
    """A sidecar with message rules before an application."""
    echo = Echo()
    app = web.Application()
    app.router.add_get("/{rest:.*}", echo.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with start(upstreams={"app": {"url": url}}, routes=ROUTES, **sections) as whole:
            yield whole, echo
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(
    whole: Whole, who: str, path: str, **more: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    fields = {"Authorization": f"Bearer {whole.tokens[who]}"}
    async with whole.session.ws_connect(whole.url + path, headers=fields, **more) as socket:
        yield socket


async def said(socket: aiohttp.ClientWebSocketResponse, payload: str) -> str:
    """What comes first after `payload` was sent."""
    await socket.send_str(payload)
    return await socket.receive_str(timeout=10)


async def ended(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """The close code that comes next."""
    message = await socket.receive(timeout=10)
    assert message.type is WSMsgType.CLOSE, message
    return socket.close_code


async def test_refused_messages_are_answered_and_go_nowhere(start: Start) -> None:
    async with relayed(start) as (whole, echo), connected(whole, "carol", "/json/1") as socket:
        read = '{"type": "read", "id": 1}'
        assert await said(socket, read) == read
        for payload, code in (
            ('{"type": "create", "id": 2}', "not-granted"),
            ('{"type": "stop", "id": 2}', "forbidden"),
            ('{"type": "other", "id": 2}', "unknown-type"),
        ):
            answer = json.loads(await said(socket, payload))
            assert answer == {"type": "error", "re": 2, "code": code}
        answer = json.loads(await said(socket, '{"type": "read", "type": "create"}'))
        assert answer == {"type": "error", "re": None, "code": "unreadable-message"}
        ping = '{"type":"ping",  "id":null }'
        assert await said(socket, ping) == ping
        assert echo.got == [read, ping], "byte for byte"


async def test_another_user_may(start: Start) -> None:
    async with relayed(start) as (whole, echo), connected(whole, "bob", "/json/1") as socket:
        create = '{"type": "create", "id": 2}'
        assert await said(socket, create) == create
        assert echo.got == [create]


async def test_a_refusal_may_close(start: Start) -> None:
    async with relayed(start) as (whole, echo), connected(whole, "carol", "/closing/1") as socket:
        await socket.send_str('{"type": "create"}')
        await socket.send_str('{"type": "ping"}')
        assert await ended(socket) == 4403
        assert echo.got == []


async def test_a_batch_is_all_or_nothing(start: Start) -> None:
    def call(method: str, number: int) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": method, "id": number}

    async with relayed(start) as (whole, echo), connected(whole, "carol", "/rpc/1") as socket:
        fine = json.dumps([call("read", 1), call("ping", 2)])
        assert await said(socket, fine) == fine
        answers = json.loads(await said(socket, json.dumps([call("read", 1), call("create", 2)])))
        assert [(each["id"], each["error"]["data"]["reason"]) for each in answers] == [
            (1, "batch-refused"), (2, "not-granted")
        ]  # fmt: skip
        assert echo.got == [fine]


async def test_a_message_is_as_its_schema_says_both_ways(start: Start, tmp_path: Path) -> None:
    def note(**params: Any) -> str:
        return json.dumps({"jsonrpc": "2.0", "method": "note", "params": params})

    file = tmp_path / "formed.jsonl"
    audit = {"sink": f"file:{file}", "flush_seconds": 0.01}
    counted = (
        'sidecar_websocket_messages_total{direction="%s",outcome="%s",route="* /formed/{shop}"}'
    )
    async with relayed(start, admin=ADMIN, audit=audit) as (whole, echo):
        async with connected(whole, "carol", "/formed/1") as socket:
            fine, grown = note(text="x"), note(text="x", more=1)
            # Fine for the application, not for the client to whom it is repeated.
            await socket.send_str(grown)
            assert await said(socket, fine) == fine
            await socket.send_str(note(txt="secret"))
            assert await ended(socket) == 4400
        assert echo.got == [grown, fine]
        assert await whole.metric(counted % ("client", "invalid-message")) == 1
        assert await whole.metric(counted % ("server", "invalid-message")) == 1
    assert "secret" not in file.read_text()
    records = [json.loads(line) for line in file.read_text().splitlines()]
    (closed,) = (each for each in records if "closed" in each)
    assert (closed["closed"], closed["code"]) == ("invalid-message", 4400)


async def test_a_position_is_no_name(start: Start) -> None:
    """Some servers make a list of an object, by the order of its members."""
    call: dict[str, Any] = {"jsonrpc": "2.0", "method": "second", "id": 1}
    async with relayed(start) as (whole, echo), connected(whole, "bob", "/rpc/1") as socket:
        by_position = json.dumps({**call, "params": ["x", "17"]})
        assert await said(socket, by_position) == by_position
        answer = json.loads(
            await said(socket, json.dumps({**call, "params": {"1": "17", "x": "9"}}))
        )
        assert answer["error"]["data"] == {"reason": "unclear-resource"}
        assert echo.got == [by_position]


async def test_what_a_client_may_not_read_is_withheld(start: Start) -> None:
    create, other = '{"type": "create"}', '{"type": "other"}'
    async with relayed(start) as (whole, echo):
        async with connected(whole, "carol", "/filtered/1") as socket:
            await socket.send_str(create)
            assert await said(socket, other) == other
        async with connected(whole, "bob", "/filtered/1") as socket:
            assert await said(socket, create) == create
        assert echo.got == [create, other, create]


async def test_stomp_is_told_in_stomp_and_ended(start: Start) -> None:
    frame_text = "SEND\ndestination:/shops/1\nreceipt:r1\n\nx\0"
    async with relayed(start) as (whole, echo):
        for who, fine in (("bob", True), ("carol", False)):
            async with connected(whole, who, "/stomp/1", protocols=["v12.stomp"]) as socket:
                assert socket.protocol == "v12.stomp"
                answer = await said(socket, frame_text)
                if fine:
                    assert answer == frame_text
                else:
                    assert answer.startswith("ERROR\nmessage:not-granted\n")
                    assert "\nreceipt-id:r1\n" in answer
                    assert await ended(socket) == 4403
        assert echo.got == [frame_text]


@pytest.mark.parametrize(
    "between",
    [
        "\r\ndestination:/shops/2\n",
        "\ufeffdestination:/shops/2\n",
        "x:y\u2028destination:/shops/2\n",
    ],
    ids=["mixed-line-ends", "byte-order-mark", "line-separator"],
)
async def test_a_destination_that_only_others_see_goes_nowhere(start: Start, between: str) -> None:
    """Brokers that split lines at LF alone, or trim names, read the second destination."""
    async with (
        relayed(start) as (whole, echo),
        connected(whole, "bob", "/stomp/1", protocols=["v12.stomp"]) as socket,
    ):
        answer = await said(socket, f"SEND\ndestination:/shops/1\n{between}\nx\0")
        assert answer.startswith("ERROR\nmessage:unreadable-message\n")
        assert await ended(socket) == 4400
        assert echo.got == []


async def test_a_hook_reads_what_nobody_else_can(start: Start) -> None:
    async with relayed(start) as (whole, echo):
        async with connected(whole, "bob", "/hook/1") as socket:
            assert await said(socket, "MAKE 17") == "MAKE 17"
            assert json.loads(await said(socket, "MAKE")) == ["no", "unclear-resource", 7]
            assert json.loads(await said(socket, "raise")) == ["no", "internal-error", None]
        async with connected(whole, "carol", "/hook/1") as socket:
            assert json.loads(await said(socket, "MAKE 17")) == ["no", "not-granted", 7]
        assert echo.got == ["MAKE 17"]


async def test_graphql_by_document_and_subprotocol(start: Start) -> None:
    payload = {"id": "1", "type": "subscribe", "payload": {"query": DOCUMENT}}
    fine = json.dumps(payload)
    async with relayed(start) as (whole, echo):
        agreed = ["graphql-transport-ws"]
        async with connected(whole, "bob", "/graphql/1", protocols=agreed) as socket:
            assert await said(socket, fine) == fine
            alias = fine.replace("{ me", "{ me: admin")
            refused = json.loads(await said(socket, alias))
            assert refused["type"] == "error"
            assert refused["payload"][0]["extensions"] == {"code": "unknown-type"}
        async with connected(whole, "carol", "/graphql/1", protocols=agreed) as socket:
            refused = json.loads(await said(socket, fine))
            assert refused["payload"][0]["extensions"] == {"code": "not-granted"}
        async with connected(whole, "bob", "/graphql/1", protocols=["other"]) as socket:
            await socket.send_str(fine)
            assert await ended(socket) == 4406
        assert echo.got == [fine]


async def test_answers_of_one_operation_never_pass_as_those_of_another(start: Start) -> None:
    """The upstream ends the first run under an id while the second goes on."""
    begin = {
        name: json.dumps({"id": "1", "type": "subscribe",
                          "payload": {"operationName": name, "query": document}})
        for name, document in NAMED.items()
    }  # fmt: skip
    complete = {"id": "1", "type": "complete"}
    answer = {"id": "1", "type": "next", "payload": {"data": {"orders": [{"id": "9"}]}}}
    async with (
        relayed(start) as (whole, echo),
        connected(whole, "carol", "/answers/1", protocols=["graphql-transport-ws"]) as socket,
    ):
        for payload in (begin["All"], json.dumps(complete), begin["All"]):
            await socket.send_str(payload)
        await socket.send_json({"type": "ping", "payload": answer})
        # What comes is what follows the answer, which carol may not read.
        ended_once = json.dumps({"type": "ping", "payload": complete})
        assert json.loads(await said(socket, ended_once)) == complete
        await socket.send_str(begin["Mine"])
        await socket.send_json({"type": "ping", "payload": answer})
        assert await ended(socket) == 4409
        assert begin["All"] in echo.got
        assert begin["Mine"] not in echo.got


async def test_nothing_is_compressed_where_messages_are_read(start: Start) -> None:
    async with (
        relayed(start) as (whole, _echo),
        connected(whole, "bob", "/json/1", compress=15) as socket,
    ):
        assert socket.compress == 0
        assert await said(socket, '{"type": "ping"}') == '{"type": "ping"}'


async def test_a_fragmented_message_waits_for_its_verdict(start: Start) -> None:
    async with relayed(start) as (whole, echo):
        peer = await Peer.connect(whole.url)
        bearer = f"Authorization: Bearer {whole.tokens['carol']}"
        assert (await peer.open("/json/1", bearer)).startswith(b"HTTP/1.1 101 ")
        for kind in (b"create", b"ping"):
            await peer.send(frame(TEXT, b'{"type": ', final=False))
            await peer.send(frame(PING, kind))
            # The ping was answered by the application: it went past the fragment that waits.
            assert await peer.frame() == (PONG, kind)
            assert echo.got == []
            await peer.send(frame(CONTINUATION, b'"' + kind + b'"}'))
            answer = (await peer.frame())[1]
            assert (b"not-granted" in answer) is (kind == b"create")
        assert echo.got == ['{"type": "ping"}']
        peer.close()


async def test_who_reads_no_answers_is_not_read(start: Start) -> None:
    """Refusals are our own words: they must not pile up for a client that only talks."""
    async with relayed(start) as (whole, echo):
        peer = await Peer.connect(whole.url)
        bearer = f"Authorization: Bearer {whole.tokens['carol']}"
        assert (await peer.open("/loud/1", bearer)).startswith(b"HTTP/1.1 101 ")
        # 40 MB of them, far more than the kernel keeps, for 200 MB of answers.
        filler = b" " * 2000
        message = frame(TEXT, b'{"type":"stop"' + filler + b"}")
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 20_000:
                async with asyncio.timeout(2):
                    await peer.send(message)
                    sent += 1
        answered = 0
        while answered < sent:
            assert b"forbidden" in (await peer.frame())[1]
            answered += 1
        assert echo.got == []
        peer.close()


async def administer(whole: Whole, method: str, path: str) -> None:
    fields = {"Authorization": f"Bearer {ADMIN['token']}"}
    url = f"{whole.admin}/admin/v1/tenants/demo{path}"
    body: dict[str, str] | None = {} if method == "PUT" else None
    async with whole.session.request(method, url, headers=fields, json=body) as answer:
        assert answer.status in {200, 202}, await answer.text()


async def test_a_change_of_grants_changes_the_verdict(start: Start) -> None:
    create = '{"type": "create", "id": 7}'
    async with (
        relayed(start, admin=ADMIN) as (whole, echo),
        connected(whole, "bob", "/json/1") as socket,
        connected(whole, "carol", "/json/1") as other,
    ):
        assert await said(socket, create) == create
        assert "not-granted" in await said(other, create)
        await administer(whole, "DELETE", "/users/bob/roles/clerk")
        assert "not-granted" in await said(socket, create), "at once, on the open connection"
        await administer(whole, "PUT", "/users/bob/roles/clerk")
        await administer(whole, "PUT", "/users/carol/roles/clerk")
        assert await said(socket, create) == create
        assert await said(other, create) == create
        assert echo.got == [create] * 3


async def test_a_revoked_session_says_nothing_more(start: Start) -> None:
    async with (
        relayed(start, admin=ADMIN) as (whole, echo),
        connected(whole, "bob", "/json/1") as socket,
    ):
        ping = '{"type": "ping"}'
        assert await said(socket, ping) == ping
        await administer(whole, "DELETE", "/users/bob/sessions")
        await socket.send_str(ping)
        assert await ended(socket) == 4401
        assert echo.got == [ping]


async def test_many_messages_of_many_users_keep_their_verdicts(start: Start) -> None:
    """Each connection has its own gate, whatever they share."""

    async def talk(whole: Whole, who: str, may: bool) -> None:
        async with connected(whole, who, f"/json/{who}") as socket:
            for number in range(50):
                payload = json.dumps({"type": "create", "id": number})
                answer = await said(socket, payload)
                assert (answer == payload) is may
                assert ("not-granted" in answer) is not may

    async with relayed(start) as (whole, echo):
        users = [("bob", True), ("carol", False), ("alice", True)] * 4
        await asyncio.gather(*(talk(whole, who, may) for who, may in users))
        assert len(echo.got) == 8 * 50


@pytest.mark.parametrize(
    ("who", "payload", "passes", "label"),
    [
        ("bob", b'{"type": "create"}', True, ""),
        ("carol", b'{"type": "create"}', False, "not-granted"),
    ],
)
async def test_an_explanation_is_what_happens(
    database: str, stack: EmbeddedStack, who: str, payload: bytes, passes: bool, label: str
) -> None:
    async with Pool(Postgres(dsn=database)) as pool:
        tokens = await prepare(pool, KEY, {})
    root = settings(database, stack.redis_url, "http://127.0.0.1:1", routes=ROUTES)
    head = read_head(root, raw_head(root, "GET", "/json/7", "h", tokens[f"{who.upper()}_TOKEN"]))
    assert not isinstance(head, Denial)
    async with open_decider(root) as decider:
        found = await decider.explain(head, AskedMessage(payload))
    assert found.message is not None
    assert (found.message.passes, found.message.label) == (passes, label)
    (call,) = found.message.calls
    assert (call.rule, call.action, call.resource) == (1, "orders:create", "shops/7")
    assert (call.origin is not None) is passes
