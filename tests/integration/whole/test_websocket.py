"""WebSockets through the whole sidecar, with real stores and a real application."""

import asyncio
from typing import Any

import pytest

from tests.integration.whole.conftest import Start, Whole
from tests.integration.whole.sockets import KEY, Application, Peer, sockets
from tests.plane import ScriptedUpstream
from tests.unit.relay.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, closing, frame

ACCEPT = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SWITCHING = (
    f"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{ACCEPT}\r\n\r\n"
).encode()
HERE = "Origin: http://app.example"


def bearer(whole: Whole, who: str = "alice") -> str:
    return f"Authorization: Bearer {whole.tokens[who]}"


def cookie(whole: Whole, who: str = "alice") -> str:
    return f"Cookie: sidecar_session={whole.tokens[who]}"


async def status(whole: Whole, target: str, *fields: str) -> int:
    peer = await Peer.connect(whole.url)
    head = await peer.open(target, *fields)
    peer.close()
    return int(head[9:12])


async def test_messages_go_both_ways(start: Start) -> None:
    async with sockets(start) as (whole, app):
        fields = {"Authorization": f"Bearer {whole.tokens['alice']}"}
        async with whole.session.ws_connect(whole.url + "/ws", headers=fields) as socket:
            for message in ("hello", "x" * 200, "y" * 70_000):
                await socket.send_str(message)
                assert await socket.receive_str() == message
            await socket.send_bytes(b"\x00\xff")
            assert await socket.receive_bytes() == b"\x00\xff"
        assert app.closes == [1000]
        assert app.heads[0]["x-auth-user"] == "alice"
        assert "authorization" not in app.heads[0]


async def test_handshakes_are_decided_like_requests(start: Start) -> None:
    async with sockets(start) as (whole, app):
        alice, bob = bearer(whole), cookie(whole)
        token = whole.tokens["alice"]
        elsewhere = "Origin: https://evil.example"
        answers: list[tuple[int, str, tuple[str, ...]]] = [
            (401, "/ws", ()),
            (101, "/ws", (alice,)),
            (101, "/ws", (alice, elsewhere)),  # a page that knows the token may use it
            (403, "/ws", (bob,)),  # a browser always names its page
            (403, "/ws", (bob, elsewhere)),
            (403, "/ws", (bob, "Origin: null")),
            (403, "/ws", (bob, HERE, HERE)),
            (101, "/ws", (bob, HERE)),
            (101, "/ws", (bob, "Origin: https://app.example")),
            (403, "/ws", (bob, "Origin: http://app.example.evil")),
            (403, "/ws", (bob, "Origin: http://app.example:8080")),
            (101, "/listed", (bob, "Origin: https://page.example")),
            (403, "/listed", (alice, elsewhere)),
            (400, "/ws", (alice, bob, HERE)),
            (400, "/ws", (alice, f"Sec-WebSocket-Protocol: sidecar.bearer.{token}")),
            (400, "/ws", (bob, HERE, f"Sec-WebSocket-Protocol: sidecar.bearer.{token}")),
            (401, "/ws", ("Sec-WebSocket-Protocol: sidecar.bearer.nonsense",)),
            (101, "/ws", (f"Sec-WebSocket-Protocol: sidecar.bearer.{token}",)),
            (401, f"/ws?access_token={token}", ()),
            (401, "/ws?sidecar_ticket=x", ()),
            (403, "/delete", (bearer(whole, "bob"),)),
            (101, "/public", ()),
            (501, "/plain", ()),
            (404, "/nowhere", ()),
            (400, "/ws", (alice, "Content-Length: 1")),
        ]
        for wanted, target, fields in answers:
            assert await status(whole, target, *fields) == wanted, (target, fields)
        assert all("authorization" not in head and "cookie" not in head for head in app.heads)


async def test_a_credential_in_a_subprotocol_goes_nowhere_and_is_answered(start: Start) -> None:
    async with sockets(start) as (whole, app):
        token = whole.tokens["alice"]
        peer = await Peer.connect(whole.url)
        head = await peer.open("/ws", f"Sec-WebSocket-Protocol: sidecar.bearer.{token}, v2, chat")
        assert b"\r\nSec-WebSocket-Protocol: v2\r\n" in head
        assert app.heads[0]["sec-websocket-protocol"] == "v2, chat"
        other = await Peer.connect(whole.url)
        head = await other.open("/ws", f"Sec-WebSocket-Protocol: sidecar.bearer.{token}")
        assert f"\r\nSec-WebSocket-Protocol: sidecar.bearer.{token}\r\n".encode() in head
        assert "sec-websocket-protocol" not in app.heads[1]
        assert ACCEPT.encode() in head
        peer.close()
        other.close()


async def test_a_credential_in_the_query_only_where_it_is_asked_for(start: Start) -> None:
    shown = {"token_key": "a token key for tests, of enough length"}
    shown["websocket"] = {"query_parameter": "access_token"}  # type: ignore[assignment] # a section
    async with sockets(start, credentials=shown) as (whole, app):
        token = whole.tokens["alice"]
        assert await status(whole, f"/ws?a=1&access%5ftoken={token}&b=2") == 101
        assert app.targets == ["/ws?a=1&b=2"]
        assert await status(whole, f"/ws?access_token={token}&access_token={token}") == 400
        assert await status(whole, f"/ws?access_token={token}", bearer(whole)) == 400
        async with whole.session.get(f"{whole.url}/ws?access_token={token}") as answer:
            assert answer.status == 401, "only handshakes"


@pytest.mark.parametrize(
    "fields",
    [
        ("Sec-WebSocket-Version: 8",),
        ("Sec-WebSocket-Key: short",),
        ("Upgrade: h2c",),
        ("Transfer-Encoding: chunked",),
    ],
)
async def test_handshakes_with_two_readings_are_refused(
    start: Start, fields: tuple[str, ...]
) -> None:
    async with sockets(start) as (whole, app):
        assert await status(whole, "/ws", bearer(whole), *fields) == 400
        assert app.heads == []


async def test_what_follows_a_declined_handshake_is_no_request(start: Start) -> None:
    """A proxy that takes it for frames, or for a request, could be made to smuggle."""
    smuggled = b"GET /orders HTTP/1.1\r\nHost: app.example\r\n\r\n"
    async with sockets(start) as (whole, app):
        for target, fields, wanted in (
            ("/ws?decline", (bearer(whole),), 403),
            ("/ws", (), 401),
            ("/plain", (), 501),
        ):
            peer = await Peer.connect(whole.url)
            head = await peer.open(target, *fields, early=smuggled)
            assert int(head[9:12]) == wanted
            assert b"Connection: close" in head
            rest = await peer.reader.read(-1)
            assert b"HTTP/1.1" not in rest
        assert app.targets == ["/ws?decline"]


async def test_an_upgrade_that_connection_does_not_name_is_a_plain_request(start: Start) -> None:
    async with sockets(start) as (whole, app):
        peer = await Peer.connect(whole.url)
        await peer.send(
            b"GET /public HTTP/1.1\r\nHost: app.example\r\nConnection: notupgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
            + KEY.encode()
            + b"\r\n\r\n"
        )
        assert int((await peer.head())[9:12]) == 400, "the application's own answer"
        assert "upgrade" not in app.heads[0]
        peer.close()


async def test_what_comes_before_the_answer_goes_on_as_frames(start: Start) -> None:
    async with sockets(start) as (whole, app):
        peer = await Peer.connect(whole.url)
        await peer.open("/ws", bearer(whole), early=frame(TEXT, b"early") + frame(TEXT, b"la"))
        assert await peer.frame() == (TEXT, b"early")
        assert await peer.frame() == (TEXT, b"la")
        assert app.got == ["early", "la"]
        peer.close()


GOOD = f"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{ACCEPT}\r\n"


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (GOOD + "\r\n", 101),
        (GOOD + "Sec-WebSocket-Protocol: chat\r\n\r\n", 101),
        (GOOD.replace("s3p", "S3p") + "\r\n", 502),
        (GOOD.replace("websocket", "h2c") + "\r\n", 502),
        (GOOD.replace("Connection: Upgrade", "Connection: close") + "\r\n", 502),
        (GOOD.replace(ACCEPT + "\r\n", "") + "\r\n", 502),
        (GOOD + "Sec-WebSocket-Protocol: other\r\n\r\n", 502),
        (GOOD + "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n\r\n", 502),
        (GOOD + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 502),
        (GOOD + "Sec-WebSocket-Extensions: x-other\r\n\r\n", 502),
        ("HTTP/1.0 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502),
    ],
)
async def test_only_an_answer_to_the_offer_opens_one(
    start: Start, answer: str, wanted: int
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer.encode())
        await reader.read(-1)

    async with (
        ScriptedUpstream(serve) as upstream,
        start(
            upstreams={"app": {"url": upstream.url}},
            routes=[{"path": "/ws", "access": "public", "websocket": {}}],
        ) as whole,
    ):
        protocol = "Sec-WebSocket-Protocol: chat"
        assert await status(whole, "/ws", protocol) == wanted
        # Nobody asked for an upgrade here.
        async with whole.session.get(whole.url + "/ws") as response:
            assert response.status == 502


async def open_socket(whole: Whole, app: Application, target: str = "/ws") -> Peer:
    peer = await Peer.connect(whole.url)
    head = await peer.open(target, bearer(whole))
    assert head.startswith(b"HTTP/1.1 101 "), head
    async with asyncio.timeout(10):
        while not app.open:
            await asyncio.sleep(0.005)
    return peer


# What a client may do wrong, and the code it is told.
WRONG = {
    "unmasked": (frame(TEXT, b"x", masked=False), 1002),
    "reserved bit": (frame(TEXT, b"x", reserved=0x40), 1002),
    "unknown opcode": (frame(3, b"x"), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "bad close code": (frame(CLOSE, closing(1005)), 1002),
    "reason that is no text": (frame(CLOSE, closing(1000, b"\xff")), 1007),
    "text that is no text": (frame(TEXT, b"\xff"), 1007),
    "too large a frame": (frame(BINARY, b"x" * 2001), 1009),
    "too large a message": (
        frame(BINARY, b"x" * 2000, final=False) + frame(CONTINUATION, b"x" * 2000), 1009,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("octets", "code"), WRONG.values(), ids=WRONG.keys())
async def test_violations_are_told_after_what_was_said_before(
    start: Start, octets: bytes, code: int
) -> None:
    async with sockets(start) as (whole, app):
        peer = await open_socket(whole, app, "/small")
        await peer.send(frame(TEXT, b"before") + octets + frame(TEXT, b"after"))
        assert await peer.frame() == (TEXT, b"before")
        assert await peer.closed() == code
        assert await peer.at_end()
        assert app.got == ["before"]


async def test_close_codes_and_control_frames_go_through(start: Start) -> None:
    async with sockets(start) as (whole, app):
        peer = await open_socket(whole, app)
        await peer.send(frame(PING, b"are you there"))
        assert await peer.frame() == (PONG, b"are you there")
        await peer.send(frame(TEXT, b"a", final=False) + frame(PING, b"in between"))
        assert await peer.frame() == (PONG, b"in between")
        await peer.send(frame(CONTINUATION, b"b"))
        assert await peer.frame() == (TEXT, b"ab")
        await peer.text("leave")
        assert await peer.frame() == (CLOSE, closing(4321, b"my own"))
        await peer.send(frame(CLOSE, closing(4321)))
        assert await peer.at_end()
        other = await open_socket(whole, app)
        await other.send(frame(CLOSE, closing(3999, b"enough")))
        assert await other.closed() in {1000, 3999}
        assert await other.at_end()
        assert app.closes[-1] == 3999


async def test_compression_is_theirs(start: Start) -> None:
    async with sockets(start) as (whole, _app):
        fields = {"Authorization": f"Bearer {whole.tokens['alice']}"}
        async with whole.session.ws_connect(
            whole.url + "/ws?deflate", headers=fields, compress=15
        ) as socket:
            assert socket.compress == 15
            for message in ("hello " * 100, "", "y" * 70_000):
                await socket.send_str(message)
                assert await socket.receive_str() == message


async def test_who_is_lost_is_lost_for_the_other(start: Start) -> None:
    async with sockets(start) as (whole, app):
        peer = await open_socket(whole, app)
        peer.writer.transport.abort()
        async with asyncio.timeout(10):
            while not app.closes:
                await asyncio.sleep(0.005)
        assert app.closes == [1006]
        other = await open_socket(whole, app)
        for socket in list(app.open):
            transport = socket._req.transport  # type: ignore[union-attr] # it is open
            assert transport is not None
            transport.abort()
        assert await other.closed() == 1006


async def test_slow_readers_stop_the_others(start: Start) -> None:
    """Back-pressure: what a client does not read is not taken from the application."""
    async with sockets(start) as (whole, app):
        peer = await open_socket(whole, app)
        sent = 0
        payload = b"x" * 100_000
        with pytest.raises(TimeoutError):
            while sent < 100_000_000:
                async with asyncio.timeout(0.5):
                    await peer.send(frame(BINARY, payload))
                    sent += len(payload)
        # The kernel's buffers of four sockets, ours, and aiohttp's.
        assert sent < 60_000_000
        received = 0
        while received < sent:
            opcode, got = await peer.frame()
            assert opcode == BINARY
            received += len(got)
        peer.close()


SETTINGS: dict[str, dict[str, Any]] = {
    "idle": {"idle_seconds": 0.2},
    "rate": {"messages_per_second": 0.5},
    "ping": {"ping_seconds": 0.3},
}


async def test_limits_of_a_route(start: Start) -> None:
    routes = [
        {"path": f"/{name}", "access": "authenticated", "websocket": websocket}
        for name, websocket in SETTINGS.items()
    ]
    async with sockets(start, routes=routes) as (whole, app):
        idle = await open_socket(whole, app, "/idle")
        assert await idle.closed() == 1001
        fast = await open_socket(whole, app, "/rate")
        await fast.send(b"".join(frame(TEXT, b"%d" % number) for number in range(10)))
        told = [await fast.frame() for _ in range(1)]
        while told[-1][0] != CLOSE:
            told.append(await fast.frame())
        assert told[-1] == (CLOSE, closing(1008, b"too many messages"))
        # All came at once, so none of that read went on.
        assert len(told) <= 6
        silent = await open_socket(whole, app, "/ping")
        assert await silent.frame() == (PING, b"sidecar")
        assert await silent.closed() == 1006, "nobody answers, so nobody is told"


async def test_as_many_as_there_may_be(start: Start) -> None:
    listen = {
        "address": "127.0.0.1:0",
        "limits": {"websockets": 1},
        "deadlines": {"drain_seconds": 1.0},
    }
    async with sockets(start, listen=listen) as (whole, app):
        peer = await open_socket(whole, app)
        assert await status(whole, "/ws", bearer(whole)) == 503
        peer.close()


async def test_as_many_as_there_may_be_however_many_shake_hands_at_once(start: Start) -> None:
    asked: list[bytes] = []
    all_asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if len(asked) == 3:
            all_asked.set()
        await all_asked.wait()
        writer.write(SWITCHING)
        await reader.read(-1)

    limits = {"limits": {"websockets": 1}, "deadlines": {"drain_seconds": 1.0}}
    async with ScriptedUpstream(serve) as upstream:
        route = {"path": "/ws", "access": "authenticated", "websocket": {}}
        async with start(
            upstreams={"app": {"url": upstream.url}},
            routes=[route],
            listen={"address": "127.0.0.1:0"} | limits,
        ) as whole:
            peers = [await Peer.connect(whole.url) for _ in range(3)]
            heads = await asyncio.gather(*(peer.open("/ws", bearer(whole)) for peer in peers))
            assert sorted(head[9:12] for head in heads) == [b"101", b"503", b"503"]
            assert await whole.metric("sidecar_websockets") == 1
            for peer in peers:
                peer.close()
