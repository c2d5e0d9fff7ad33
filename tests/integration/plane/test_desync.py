"""Random pipelines between random peers: every answer must be the one of its request.

Each request carries a number of its own, in its head and all through its body; the upstream checks
that they agree and answers with it. Requests are pipelined, cut anywhere, of every framing;
upstreams answer early, late, in every framing, die, or add what nobody asked for; clients leave.
Afterwards nothing may be left over. The seed is in the test's name; SIDECAR_DESYNC_SECONDS runs
each longer.
"""

import asyncio
import os
import random
from collections import Counter

import pytest

from sidecar.settings.schema import Deadlines, Listen, RouteRule, Upstream
from tests.plane import (
    Plane,
    RawClient,
    ScriptedUpstream,
    fields_of,
    read_chunked,
    read_head,
    running_plane,
)

SECONDS = float(os.environ.get("SIDECAR_DESYNC_SECONDS", "2"))
ROUTES = (
    RouteRule(path="/open/{n}", access="public"),
    RouteRule(path="/closed/{n}", access="authenticated"),
)
LISTEN = Listen(deadlines=Deadlines(linger_seconds=0.3))


class World:
    """What the peers of one run share."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.numbers = iter(range(1, 10**9))
        self.seen: Counter[str] = Counter()
        self.faults: list[str] = []

    def marked(self, number: str) -> bytes:
        """A body all of which says to which request it belongs."""
        return f"<{number}>".encode() * self.chance.choice([0, 1, 50, 5000])

    def cut(self, octets: bytes) -> list[bytes]:
        """`octets` in pieces."""
        pieces = []
        while octets:
            size = self.chance.choice([1, 7, 100, 10_000, len(octets)])
            pieces.append(octets[:size])
            octets = octets[size:]
            if len(pieces) > 30:
                pieces.append(octets)
                break
        return pieces

    def framed(self, body: bytes) -> tuple[str, bytes]:
        """The framing field and the framed body."""
        if self.chance.random() < 0.5:
            return f"Content-Length: {len(body)}", body
        octets = b""
        for piece in self.cut(body):
            if piece:
                extension = self.chance.choice([b"", b";a=b"])
                octets += b"%x%b\r\n%b\r\n" % (len(piece), extension, piece)
        trailer = self.chance.choice([b"", b"X-Number: forged\r\n"])
        return "Transfer-Encoding: chunked", octets + b"0\r\n" + trailer + b"\r\n"

    def request(self) -> tuple[str, str, bytes, bool]:
        """Number, method, octets, and whether the route is open."""
        number = str(next(self.numbers))
        method = self.chance.choice(["GET", "HEAD", "POST", "PUT"])
        is_open = self.chance.random() < 0.85
        lines = [f"{method} /{'open' if is_open else 'closed'}/{number} HTTP/1.1", "Host: h"]
        lines.append(f"X-Number: {number}")
        body = b""
        if method in {"POST", "PUT"}:
            field, body = self.framed(self.marked(number))
            lines.append(field)
        return number, method, "\r\n".join([*lines, "", ""]).encode() + body, is_open

    async def send(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        for piece in self.cut(octets):
            if writer.transport.is_closing():
                raise ConnectionResetError
            writer.write(piece)
            if self.chance.random() < 0.3:
                await writer.drain()
                await asyncio.sleep(0)
        await writer.drain()


async def answer(world: World, number: str, method: str, writer: asyncio.StreamWriter) -> bool:
    """Answer in some framing; False when the connection is done for."""
    chance = world.chance.random()
    body = world.marked(number) or f"<{number}>".encode()
    if chance < 0.05:
        return False
    if chance < 0.2:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    if chance < 0.25:
        writer.write(f"HTTP/1.1 204 No Content\r\nX-Number: {number}\r\n\r\n".encode())
        return True
    field, framed = world.framed(body)
    ends = chance > 0.9
    if ends:
        field, framed = "Connection: close", body
    head = f"HTTP/1.1 200 OK\r\nX-Number: {number}\r\n{field}\r\n\r\n".encode()
    octets = head if method == "HEAD" else head + framed
    if 0.8 < chance < 0.85:
        await world.send(writer, octets[: len(octets) // 2])
        return False
    if 0.85 < chance < 0.9:
        # More than was announced, in the same segment: it must reach nobody. (What comes when the
        # connection serves the next request already cannot be told from its answer: HTTP/1.1.)
        body = f"<{number}>".encode()
        fields = f"X-Number: {number}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        planted = b"HTTP/1.1 200 OK\r\nX-Number: planted\r\nContent-Length: 0\r\n\r\n"
        answered = b"" if method == "HEAD" else body
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields + answered + planted)
        return True
    await world.send(writer, octets)
    return not ends


def upstream_of(world: World) -> ScriptedUpstream:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_head(reader)
            method = head.split(b" ")[0].decode()
            fields = fields_of(head)
            number = fields["x-number"]
            if not head.split(b" ")[1].endswith(f"/{number}".encode()):
                world.faults.append(f"a head of two requests: {head!r}")
            if world.chance.random() < 0.05:
                await answer(world, number, method, writer)
                return
            if "transfer-encoding" in fields:
                body = await read_chunked(reader)
            else:
                body = await reader.readexactly(int(fields.get("content-length", "0")))
            if set(body.split(b">")) - {b"", b"<" + number.encode()}:
                world.faults.append(f"the body of {number} holds {body[:80]!r}")
            await asyncio.sleep(world.chance.choice([0, 0, 0.001]))
            if not await answer(world, number, method, writer):
                await writer.drain()
                return

    return ScriptedUpstream(serve)


async def converse(world: World, plane: Plane) -> None:
    """One client connection: a pipeline, and each answer checked."""
    client = await plane.client()
    requests = [world.request() for _ in range(world.chance.randint(1, 6))]
    octets = b"".join(each[2] for each in requests)
    sending = asyncio.ensure_future(_send(world, client, octets))
    try:
        for number, method, _, is_open in requests:
            if world.chance.random() < 0.03:
                client.reset()
                world.seen["left"] += 1
                return
            if not await _checked(world, client, number, method, is_open=is_open):
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        # Truncated because its upstream died: seen as such, which is right.
        world.seen["truncated"] += 1
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client.close()


async def _send(world: World, client: RawClient, octets: bytes) -> None:
    try:
        await world.send(client.writer, octets)
    except ConnectionError:
        return


async def _checked(
    world: World, client: RawClient, number: str, method: str, *, is_open: bool
) -> bool:
    """Whether the connection goes on."""
    response = await client.response(method)
    while response.status < 200:
        response = await client.response(method)
    world.seen[str(response.status)] += 1
    if not is_open:
        if response.status != 401:
            world.faults.append(f"{number} was not permitted and got {response.status}")
    elif response.status in {200, 204}:
        if response.fields.get("x-number") != number:
            world.faults.append(f"{number} got the answer of {response.fields.get('x-number')}")
        if set(response.body.split(b">")) - {b"", b"<" + number.encode()}:
            world.faults.append(f"{number} got a body with {response.body[:80]!r}")
    elif response.status != 502:
        world.faults.append(f"{number} got {response.status}: {response.body[:200]!r}")
    return response.fields.get("connection") != "close"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_answer_is_of_its_request(seed: int) -> None:
    world = World(seed)
    settings = Upstream(url="", connections=8, queue_seconds=30.0)
    async with (
        upstream_of(world) as upstream,
        running_plane(upstream.url, listen=LISTEN, routes=ROUTES, upstream=settings) as plane,
    ):
        loop = asyncio.get_running_loop()
        until = loop.time() + SECONDS

        async def keep_conversing() -> None:
            while loop.time() < until and not world.faults:
                await converse(world, plane)

        await asyncio.gather(*(keep_conversing() for _ in range(12)))
        assert world.faults == []
        assert world.seen["200"] > 100
        assert world.seen["401"] > 10
        await plane.until(lambda: plane.server.open_connections == 0)
        assert all(exchange.is_over for exchange in plane.ended)
        await plane.until(lambda: plane.pool.size == plane.pool.idle)
        assert not plane.pool._queue
