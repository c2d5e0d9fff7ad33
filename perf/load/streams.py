"""Bodies of any size: an upstream that takes and gives them, and clients that count them.

Run without arguments it is the upstream and tells its port: a GET with ``?bytes=N`` is answered
with so many, of a POST all is read. Run with arguments it uses 8 connections, and prints a line of
JSON.
"""

import argparse
import asyncio
import json
import re
import sys
from time import perf_counter
from typing import cast

import uvloop

from perf.load.generator import COME_AGAIN, STALL_SECONDS
from perf.load.introduction import introduced
from perf.machine import cpu_seconds
from perf.workload import HOST, PATH

CONNECTIONS = 8
LARGEST = 16_000_000
_OCTETS = bytes(LARGEST)
_END = b"\r\n\r\n"
_WANTED = re.compile(rb"\?bytes=(\d+) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class _Message(asyncio.Protocol):
    """Reads messages that have a length; whatever is in their bodies."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only behave like asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            end = self._head.find(_END)
            if end < 0:
                return
            length = _LENGTH.search(self._head)
            self._left = (int(length[1]) if length else 0) - (len(self._head) - end - 4)
        if self._left < 0:
            raise AssertionError(f"{-self._left} bytes too many")
        if self._left == 0:
            head, self._head = self._head, b""
            self.whole(head)

    def whole(self, head: bytes) -> None:
        """A message has come, to its last byte; the head may have bytes of the body behind it."""
        raise NotImplementedError


class Upstream(_Message):
    """The application."""

    def whole(self, head: bytes) -> None:
        wanted = _WANTED.search(head[: head.index(b"\r\n")])
        size = int(wanted[1]) if wanted else 0
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        if size:
            self._transport.write(memoryview(_OCTETS)[:size])


class Client(_Message):
    """Sends a request, waits for the answer, sends the next; counts."""

    def __init__(self, head: bytes, size: int, fault: asyncio.Future[None]) -> None:
        super().__init__()
        self._request = head
        self._body = memoryview(_OCTETS)[:size]
        self._fault = fault
        self.answers = 0
        self.is_stopping = False

    def send(self) -> None:
        self._transport.write(self._request)
        if self._body:
            self._transport.write(self._body)

    def whole(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200 "):
            is_later = head.startswith(b"HTTP/1.1 503 ")
            self._fail(f"{COME_AGAIN if is_later else 'unexpected answer'}: {head[:600]!r}")
            return
        self.answers += 1
        if not self.is_stopping:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_stopping:
            self._fail(f"the proxy closed a connection ({exc}); got {self._head[:300]!r}")

    def stop(self) -> None:
        self.is_stopping = True
        self._transport.abort()

    def _fail(self, text: str) -> None:
        if not self._fault.done():
            self._fault.set_exception(RuntimeError(text))


def heads(token: str, size: int) -> dict[str, bytes]:
    """By direction, the head of a request with so many bytes in that direction."""
    fields = f"Host: {HOST}\r\nAuthorization: Bearer {token}\r\n"
    return {
        "down": f"GET {PATH}?bytes={size} HTTP/1.1\r\n{fields}\r\n".encode(),
        "up": f"POST {PATH} HTTP/1.1\r\n{fields}Content-Length: {size}\r\n\r\n".encode(),
    }


async def measure(
    port: int,
    pid: int,
    first: bytes,
    head: bytes,
    sent_bytes: int,
    *,
    warm_up: float,
    seconds: float,
) -> dict[str, float]:
    """Requests, seconds and the proxy's CPU seconds.

    Args:
        first: a small request, by which the proxy learns of the token.
        head: of all others.
        sent_bytes: after each head.

    Raises:
        RuntimeError: an answer was not the expected one, or none came.
    """
    await introduced(port, [first])
    loop = asyncio.get_running_loop()
    fault: asyncio.Future[None] = loop.create_future()
    clients = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(
            lambda: Client(head, sent_bytes, fault), "127.0.0.1", port
        )
        clients.append(client)
    for client in clients:
        client.send()
    await _passed(fault, warm_up)
    answers, spent, began = _sum(clients), cpu_seconds(pid), perf_counter()
    await _passed(fault, seconds)
    # Large bodies take long: there must be a few of them.
    while _sum(clients) < answers + CONNECTIONS:
        await _passed(fault, 0.1)
        if perf_counter() - began > seconds + 4 * STALL_SECONDS:
            raise RuntimeError("too few answers")
    told = {
        "requests": _sum(clients) - answers,
        "cpu_seconds": cpu_seconds(pid) - spent,
        "seconds": perf_counter() - began,
    }
    for client in clients:
        client.stop()
    return told


def _sum(clients: list[Client]) -> int:
    return sum(client.answers for client in clients)


async def _passed(fault: asyncio.Future[None], seconds: float) -> None:
    await asyncio.wait([fault], timeout=seconds)
    if fault.done():
        fault.result()


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("port", "pid", "size"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("warm-up", "seconds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--direction", choices=("up", "down"), required=True)
    parser.add_argument("--token", required=True)
    given = parser.parse_args()
    first = heads(given.token, 0)["down"]
    head = heads(given.token, given.size)[given.direction]
    sent = given.size if given.direction == "up" else 0
    try:
        told = uvloop.run(
            measure(
                given.port,
                given.pid,
                first,
                head,
                sent,
                warm_up=given.warm_up,
                seconds=given.seconds,
            )
        )
    except (RuntimeError, OSError) as error:
        sys.exit(f"load generator: {error}")
    print(json.dumps(told))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        uvloop.run(serve())
    else:
        main()
