"""An upstream of WebSockets, and clients that speak them whatever is right or wrong."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from tests.integration.whole.conftest import Start, Whole
from tests.unit.relay.wire import CLOSE, PING, PONG, TEXT, frame, mask

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@dataclass
class Application:
    """An application with WebSockets.

    Attributes:
        url: where it is.
        heads: fields of each handshake.
        got: messages it received, in order.
        closes: close codes it saw.
        open: its WebSockets.
    """

    url: str = ""
    heads: list[dict[str, str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    got: list[str | bytes] = field(default_factory=list)
    closes: list[int | None] = field(default_factory=list)
    open: set[web.WebSocketResponse] = field(default_factory=set)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        self.targets.append(request.raw_path)
        if "decline" in request.query:
            return web.Response(status=403, text="declined")
        response = web.WebSocketResponse(
            protocols=("chat", "v2"),
            compress="compress" in request.query or "deflate" in request.query,
            max_msg_size=0,
        )
        await response.prepare(request)
        self.open.add(response)
        try:
            async for message in response:
                if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    self.got.append(message.data)
                    await self.answer(response, message)
        finally:
            self.open.discard(response)
            self.closes.append(response.close_code)
        return response

    async def answer(self, response: web.WebSocketResponse, message: aiohttp.WSMessage) -> None:
        if message.data == "bye":
            await response.close(code=WSCloseCode.OK, message=b"as asked")
        elif message.data == "leave":
            await response.close(code=4321, message=b"my own")
        elif message.type is WSMsgType.TEXT:
            await response.send_str(message.data)
        else:
            await response.send_bytes(message.data)


@asynccontextmanager
async def application() -> AsyncIterator[Application]:
    """The application, running."""
    made = Application()
    app = web.Application()
    app.router.add_get("/{rest:.*}", made.socket)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


ROUTES: list[dict[str, Any]] = [
    {"path": "/ws", "access": "authenticated", "websocket": {}},
    {
        "path": "/listed",
        "access": "authenticated",
        "websocket": {"origins": ["https://page.example"]},
    },
    {
        "path": "/small",
        "access": "authenticated",
        "websocket": {"frame_bytes": 2000, "message_bytes": 3000},
    },
    {"path": "/orders", "permission": "orders:read", "websocket": {}},
    {"path": "/delete", "permission": "nothing:granted", "websocket": {}},
    {"path": "/public", "access": "public", "websocket": {}},
    {"path": "/plain", "access": "public"},
]


@asynccontextmanager
async def sockets(start: Start, **sections: Any) -> AsyncIterator[tuple[Whole, Application]]:
    """A sidecar before the application."""
    async with application() as app:
        more = {"routes": ROUTES} | sections
        async with start(upstreams={"app": {"url": app.url}}, **more) as whole:
            try:
                yield whole, app
            finally:
                while _PEERS:
                    _PEERS.pop().close()


def outlive() -> None:
    """The clients of this test close their connections themselves, after the sidecar's end."""
    _PEERS.clear()


def handshake(target: str, *fields: str, key: str = KEY) -> bytes:
    """A handshake; Host is added."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: app.example",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *fields,
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


# Of the test that runs.
_PEERS: "list[Peer]" = []


@dataclass
class Peer:
    """A client that writes octets and reads frames strictly."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, url: str) -> Self:
        host, _, port = url.partition("://")[2].partition(":")
        made = cls(*await asyncio.open_connection(host, int(port)))
        _PEERS.append(made)
        return made

    async def open(self, target: str, *fields: str, early: bytes = b"") -> bytes:
        """Shake hands; gives the head of the answer."""
        await self.send(handshake(target, *fields) + early)
        return await self.head()

    async def head(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def text(self, payload: str) -> None:
        await self.send(frame(TEXT, payload.encode()))

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        async with asyncio.timeout(10):
            first, second = await self.reader.readexactly(2)
            length = second & 0x7F
            if length >= 126:
                wide = 2 if length == 126 else 8
                length = int.from_bytes(await self.reader.readexactly(wide), "big")
            key = await self.reader.readexactly(4) if second & 0x80 else b""
            payload = await self.reader.readexactly(length)
            return first & 0x0F, mask(payload, key) if key else payload

    async def closed(self) -> int:
        """The code of the close frame that comes next (pings and pongs aside); 1006 for none."""
        try:
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2], "big") if payload else 1005
                assert opcode in {PING, PONG}, (opcode, payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            return 1006

    async def at_end(self) -> bool:
        """Whether nothing more comes."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        self.writer.close()


def random_text(size: int) -> str:
    return os.urandom(size).hex()[:size]
