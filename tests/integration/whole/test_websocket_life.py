"""The rest of a WebSocket's life: it ends when its principal's does, and nothing passes after."""

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from sidecar.embedded import EmbeddedStack
from tests.integration.whole.conftest import Start, Whole, settings
from tests.integration.whole.sockets import ROUTES, Application, Peer, outlive, sockets
from tests.integration.whole.test_admin_api import ADMIN, call
from tests.integration.whole.test_tokens import issuing
from tests.unit.relay.wire import CLOSE, TEXT, closing, frame


async def open_socket(whole: Whole, who: str, target: str = "/ws") -> Peer:
    peer = await Peer.connect(whole.url)
    token = whole.tokens.get(who, who)
    head = await peer.open(target, f"Authorization: Bearer {token}")
    assert head.startswith(b"HTTP/1.1 101 "), head
    await peer.text("hello")
    assert await peer.frame() == (TEXT, b"hello")
    return peer


CHANGES: dict[str, tuple[str, str, str, object, int, bytes]] = {
    "session revoked": ("/ws", "DELETE", "/users/bob/sessions", None, 4401, b"session-revoked"),
    "user disabled": (
        "/ws", "PUT", "/users/bob/status", {"status": "disabled"}, 4401, b"user-disabled",
    ),
    "tenant disabled": ("/ws", "PUT", "/status", {"status": "disabled"}, 4401, b"user-disabled"),
    "role taken": ("/orders", "DELETE", "/users/bob/roles/clerk", None, 4403, b"not-granted"),
    "role changed": (
        "/orders", "POST", "/roles/clerk/rules", {"action": "orders:*", "effect": "deny"},
        4403, b"denied-by-rule",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_changes_close_exactly_those_they_concern(
    start: Start, change: tuple[str, str, str, object, int, bytes]
) -> None:
    target, method, path, body, code, reason = change
    async with sockets(start, admin=ADMIN) as (whole, app):
        bobs = [await open_socket(whole, "bob", target) for _ in range(2)]
        alice = await open_socket(whole, "alice", target)
        status, told = await call(whole, method, path, body)
        assert status == 200, told
        for bob in bobs:
            assert await bob.frame() == (CLOSE, closing(code, reason))
            await bob.send(frame(TEXT, b"after") + frame(CLOSE, closing(code)))
            assert await bob.at_end()
        if path != "/status":
            await alice.text("still here")
            assert await alice.frame() == (TEXT, b"still here")
        assert "after" not in app.got
        assert (await whole.metric("sidecar_websocket_lag_seconds_count")) >= 2
        closes = f'sidecar_websocket_closes_total{{cause="{reason.decode()}"'
        assert await count(whole, closes) >= 2


async def count(whole: Whole, begin: str) -> float:
    async with whole.session.get(whole.admin + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(begin))


# SIDECAR_TEST_SOCKETS=1000 for the whole of it.
SOCKETS = int(os.environ.get("SIDECAR_TEST_SOCKETS", "60"))


async def test_nothing_passes_on_any_sidecar_once_it_is_applied(
    start: Start, database: str, stack: EmbeddedStack
) -> None:
    """Many talk; users lose their sessions meanwhile; none gets a word through after that."""
    stores = msgspec.to_builtins(settings(database, stack.redis_url, "http://127.0.0.1:1").stores)
    stores["redis"]["isolation_seconds"] = 0.01
    async with (
        sockets(start, admin=ADMIN, stores=stores) as (first, app),
        sockets(start, stores=stores) as (second, other),
    ):
        users = "alice", "bob", "carol"
        peers = {
            who: [
                await open_socket(whole, who)
                for whole in (first, second)
                for _ in range(SOCKETS // 6)
            ]
            for who in users
        }
        chatting = {who: [asyncio.create_task(chat(peer)) for peer in peers[who]] for who in users}
        for who in ("bob", "carol"):
            path = f"/users/{who}/sessions?ack=applied&ack_seconds=20"
            status, told = await call(first, "DELETE", path)
            assert (status, told["level"]) == (200, "applied"), told
            await asyncio.gather(*(say_late(peer) for peer in peers[who]))
            assert set(await asyncio.gather(*chatting[who])) == {4401}
        assert not any(task.done() for task in chatting["alice"])
        assert "late" not in app.got + other.got
        for task in chatting["alice"]:
            task.cancel()
        await asyncio.gather(*chatting["alice"], return_exceptions=True)
        async with asyncio.timeout(10):
            while await first.metric("sidecar_websockets") != SOCKETS // 6:
                await asyncio.sleep(0.02)


async def say_late(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        await peer.text("late")


async def chat(peer: Peer) -> int:
    """Say something, again and again; gives the close code."""
    number = 0
    while True:
        number += 1
        try:
            await peer.text(str(number))
        except ConnectionError:
            return await peer.closed()
        opcode, payload = await peer.frame()
        if opcode == CLOSE:
            await peer.send(frame(CLOSE, payload))
            assert await peer.at_end()
            return int.from_bytes(payload[:2], "big")


async def test_an_expired_token_ends_it_and_a_fresh_one_extends_it(start: Start) -> None:
    routes = [
        *ROUTES,
        {
            "path": "/fresh",
            "access": "authenticated",
            "websocket": {"reauthenticate": {"announce_seconds": 60}},
        },
    ]
    async with issuing() as issuer:
        credentials = issuer.settings(leeway_seconds=0.0)
        async with sockets(start, routes=routes, credentials=credentials) as (whole, app):
            soon = int(time.time()) + 3
            plain = await open_socket(whole, issuer.token(exp=soon))
            fresh = await Peer.connect(whole.url)
            head = await fresh.open("/fresh", f"Authorization: Bearer {issuer.token(exp=soon)}")
            assert head.startswith(b"HTTP/1.1 101")
            told = json.loads((await fresh.frame())[1])
            assert told["type"] == "sidecar.expiring"
            assert 0 <= told["seconds"] <= 3

            async def show(token: object) -> Any:
                await fresh.text(json.dumps({"type": "sidecar.authenticate", "token": token}))
                return json.loads((await fresh.frame())[1])

            refused = {"type": "sidecar.refused"}
            assert await show(None) == refused | {"reason": "malformed-credential"}
            assert await show("x") == refused | {"reason": "malformed-credential"}
            assert await show("ä") == refused | {"reason": "malformed-credential"}
            assert await show(issuer.token(exp=1)) == refused | {"reason": "token-expired"}
            other = issuer.token(sub="alice")
            assert await show(other) == refused | {"reason": "another-subject"}
            later = int(time.time()) + 600
            taken = await show(issuer.token(exp=later))
            assert taken == {"type": "sidecar.authenticated", "expires_at": later}
            assert await plain.closed() == 4401
            assert time.time() >= soon
            await fresh.text('{"type": "mine"}')
            assert await fresh.frame() == (TEXT, b'{"type": "mine"}')
            assert app.got == ["hello", '{"type": "mine"}'], "tokens go to nobody"
            outcome = 'sidecar_websocket_messages_total{direction="client",outcome='
            assert await count(whole, outcome + '"reauthenticated"') == 1


async def test_an_end_of_the_stores_holds_everything_and_then_closes(
    start: Start, database: str, stack: EmbeddedStack
) -> None:
    """R13: without a lease and without an answer nothing passes."""
    routes = [
        {"path": "/ws", "access": "authenticated", "websocket": {"hold_seconds": 1.0}},
    ]
    async with sockets(start, routes=routes, redis=None) as (whole, app):
        peer = await open_socket(whole, "bob")
        # Polling finds no database: the lease lapses after a while, and nothing is loaded.
        await stop_accepting(stack, database)
        code, said = 0, 0
        async with asyncio.timeout(20):
            while not code:
                await peer.text("again")
                opcode, payload = await peer.frame()
                if opcode == CLOSE:
                    code = int.from_bytes(payload[:2], "big")
                else:
                    said += 1
                    await asyncio.sleep(0.1)
        assert code == 1013
        assert len(app.got) == said + 1, "what was held is gone"


async def stop_accepting(stack: EmbeddedStack, database: str) -> None:
    """From now on nobody reaches this database."""
    name = conninfo_to_dict(database)["dbname"]
    async with await psycopg.AsyncConnection.connect(
        stack.database_url, autocommit=True
    ) as connection:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )


async def test_without_memory_each_read_asks_the_stores(start: Start) -> None:
    async with sockets(start, features={"memory_cache": False}, admin=ADMIN) as (whole, app):
        peer = await open_socket(whole, "bob")
        for number in range(20):
            await peer.text(str(number))
            assert await peer.frame() == (TEXT, str(number).encode())
        await call(whole, "DELETE", "/users/bob/sessions")
        assert await chat(peer) == 4401
        assert len(app.got) <= 22


async def test_a_restart_closes_all_of_them_with_their_code(start: Start) -> None:
    peers: list[Peer] = []
    async with sockets(start) as (whole, app):
        peers += [await open_socket(whole, "bob") for _ in range(5)]
        answers = [asyncio.create_task(answer(peer)) for peer in peers]
        application: Application = app
        outlive()
    assert await asyncio.gather(*answers) == [1012] * 5
    assert application.closes == [1001] * 5


async def answer(peer: Peer) -> int:
    code = await peer.closed()
    await peer.send(frame(CLOSE, closing(code)))
    assert await peer.at_end()
    peer.close()
    return code


async def test_the_audit_tells_the_beginning_and_the_end(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "sockets.jsonl"
    audit = {"sink": f"file:{file}", "flush_seconds": 0.01}
    async with sockets(start, admin=ADMIN, audit=audit) as (whole, _app):
        peer = await open_socket(whole, "bob")
        await call(whole, "DELETE", "/users/bob/sessions")
        await answer(peer)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    begun, ended = (each for each in records if each.get("status") == 101)
    assert (begun["outcome"], begun["subject"], "closed" in begun) == ("permit", "bob", False)
    assert begun["request_id"] == ended["request_id"]
    assert (ended["outcome"], ended["reason"]) == ("deny", "session-revoked")
    assert (ended["closed"], ended["code"]) == ("session-revoked", 4401)
    assert (ended["messages_in"], ended["messages_out"]) == (1, 1)
