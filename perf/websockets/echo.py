"""An upstream and clients of WebSockets that cost next to nothing: fixed messages, no codec.

Run as a program it is the upstream: it answers each masked frame with the same payload unmasked.
"""

import asyncio
import re
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

from sidecar.relay.closing import PONG, TEXT, frame
from sidecar.relay.handshake import accept_key

# Opened at once.
_BATCH = 32
_TRIES = 10
_PATIENCE_SECONDS = 0.5
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: "
)
_KEY = re.compile(rb"sec-websocket-key: *([^\r]+)\r", re.IGNORECASE)


class Upstream(asyncio.Protocol):
    """Answers handshakes, then frames of one size."""

    def __init__(self, payload: int) -> None:
        self._answer = frame(TEXT, b"x" * payload)
        self._size = len(self._answer) + 4
        self._left = 0
        self._is_open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._is_open:
            self._is_open = True
            found = _KEY.search(data)
            assert found is not None, data
            self._transport.write(_SWITCHED + accept_key(found[1]) + b"\r\n\r\n")
            return
        self._left += len(data)
        whole, self._left = divmod(self._left, self._size)
        if whole:
            self._transport.write(self._answer * whole)


@dataclass
class Client(asyncio.Protocol):
    """Sends a message, waits for the answer, sends the next; counts."""

    payload: bytes
    token: str
    path: str
    messages: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    closed_at: float = 0.0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    is_chatting: bool = False
    refusal: bytes = b""

    def __hash__(self) -> int:
        return id(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._left = 0
        self._message = frame(TEXT, self.payload, b"mask")
        self._size = len(self._message) - 4
        token = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        self.transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{token}".encode()
            + b"Sec-WebSocket-Key: "
            + KEY
            + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        if not self.opened.is_set():
            self.refusal = b"" if data.startswith(b"HTTP/1.1 101 ") else data
            self.opened.set()
            return
        if data[0] == 0x89 and not self.is_chatting:
            # Who sends nothing is asked now and then whether it is still there.
            self.transport.write(frame(PONG, data[2:], b"mask"))
            return
        if data[0] == 0x88:
            self.closed_at = time.time()
            self.closed.set()
            self.transport.close()
            return
        self._left += len(data)
        whole, self._left = divmod(self._left, self._size)
        if whole:
            self.messages += whole
            if self.is_chatting:
                self.transport.write(self._message)

    def chat(self) -> None:
        """Send a message after each answer."""
        self.is_chatting = True
        self.say()

    def say(self) -> None:
        """Send one message."""
        self.transport.write(self._message)


async def connected(
    port: int, number: int, payload: int, token: str, path: str, text: bytes | None = None
) -> list[Client]:
    """So many clients, each with its WebSocket.

    Args:
        payload: bytes of each message, as of the application's.
        text: what they send; None for anything of that length.
    """
    sent = b"x" * payload if text is None else text
    assert len(sent) == payload, "the application counts messages by their size"
    made: list[Client] = []
    for begin in range(0, number, _BATCH):
        batch = range(min(_BATCH, number - begin))
        made += await asyncio.gather(*(_opened(port, Client(sent, token, path)) for _ in batch))
    return made


async def _opened(port: int, client: Client) -> Client:
    """Again where a busy machine kept the proxy from the application in time (503, 504)."""
    for _ in range(_TRIES):
        await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
        async with asyncio.timeout(20):
            await client.opened.wait()
        if not client.refusal:
            return client
        client.transport.abort()
        client.opened.clear()
        if not client.refusal.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 504 ")):
            break
        await asyncio.sleep(_PATIENCE_SECONDS)
    raise RuntimeError(f"no WebSocket: {client.refusal!r}")


async def _serve(port: int, payload: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(payload), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
