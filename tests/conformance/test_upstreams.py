"""What a misbehaving application does, and what its client sees: the table of docs/http.md.

Each row of the documentation has its probes here, and each probe ends with canaries: whatever an
application did to one request, the next ones get their own answers.
"""

import asyncio
import itertools
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from sidecar.model.reason import Reason
from sidecar.settings.schema import Deadlines, Listen, Upstream
from tests.plane import (
    RawClient,
    Response,
    ScriptedUpstream,
    fields_of,
    read_head,
    read_request,
    request,
    running_plane,
)

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "http.md"
Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVIL: Final = b"HTTP/1.1 200 OK\r\nX-Nonce: evil\r\nContent-Length: 4\r\n\r\nevil"
QUICK: Final = Upstream(url="", head_seconds=0.15, body_idle_seconds=0.15)
LISTEN: Final = Listen(deadlines=Deadlines(linger_seconds=0.2))
# A response that must not be seen whole: the connection breaks off, within this status's head.
BREAKS: Final = "breaks off"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Probe:
    """One way to misbehave.

    Attributes:
        octets: what the application sends before it closes, or how it acts instead.
        sees: the reason of our refusal, `BREAKS`, or the body the client gets.
        method: of the request.
        body: of the request; its length is announced longer where `is_cut`.
        status: of the answer, where it is the application's.
        stays: the application does not close, and waits.
        head: a part of the head that the client gets, or (with ``!`` before it) does not get.
    """

    octets: bytes | Act
    sees: Reason | str | bytes
    method: str = "GET"
    body: bytes = b""
    is_cut: bool = False
    status: int = 200
    stays: bool = False
    head: str = ""


def _ok(*lines: str, body: str = "", status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", body)).encode("latin-1")


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _resetting_after(octets: bytes) -> Act:
    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        await writer.drain()
        await asyncio.sleep(0.02)  # a reset overtakes what was not read yet
        _reset(writer)

    return act


def _dripping(octets: bytes, seconds: float) -> Act:
    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in itertools.chain(octets, itertools.repeat(0x61)):
            if writer.transport.is_closing():
                return
            writer.write(bytes((byte,)))
            await asyncio.sleep(seconds)

    return act


def _flooding(octets: bytes) -> Act:
    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.transport.is_closing():
            writer.write(octets)
            await writer.drain()

    return act


_CHUNKED = "Transfer-Encoding: chunked"
_MALFORMED = Reason.UPSTREAM_MALFORMED
_CLOSED = Reason.UPSTREAM_CLOSED

_STATUS_LINES = (
    "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 abc OK",
    "HTTP/1.1 000 OK", "HTTP/1.1 099 OK", "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1 200OK",
    "HTTP/1.1 +200 OK", "HTTP/1.1 2 0 0", "HTTP/1.1 200\x00OK", "HTTP/1.1 200 O\x00K",
    "HTTP/1.1 200 O\rK", "http/1.1 200 OK", "HTTP/2 200", "HTTP/2.0 200 OK", "HTTP/0.9 200 OK",
    "HTTP/1.2 200 OK", "HTTP/1.10 200 OK", "HTTP/11.1 200 OK", "HTTP/1 200 OK", "ICY 200 OK",
    " HTTP/1.1 200 OK", "\tHTTP/1.1 200 OK", "SSH-2.0-OpenSSH_9.2", "220 mail ESMTP",
    "GET / HTTP/1.1",
)  # fmt: skip
_FIELDS = (
    "A: b\x00c", "A: b\rC: d", "A: b\nC: d", "A: b\r\n c", "A : b", "A b", ": b", "A\x00: b",
    " A: b",
    "A: \x07",
)  # fmt: skip
_LENGTHS = (
    "Content-Length: -1", "Content-Length: +1", "Content-Length: 0x1", "Content-Length: 1, 2",
    "Content-Length: 1 2", "Content-Length:", "Content-Length: 99999999999999999999",
    "Content-Length: 1_0", "Content-Length: 1\r\nContent-Length: 2",
    "Content-Length: 2\r\nContent-Length: 2", f"Content-Length: 5\r\n{_CHUNKED}",
    f"{_CHUNKED}\r\nContent-Length: 5", "Transfer-Encoding: gzip",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: identity",
    f"{_CHUNKED}\r\n{_CHUNKED}", "Transfer-Encoding: xchunked", "Transfer-Encoding:",
)  # fmt: skip
_BAD_CHUNKS = (
    "zz\r\n", "-1\r\n", "0x1\r\na\r\n", "1;\nab\r\n", "1\na\n0\n\n", "1\r\nabc\r\n0\r\n\r\n",
    " 1\r\na",
    "ffffffffffffffffff\r\n", "1\r\na\r\n0\r\nbad trailer\r\n\r\n", "5" + "0" * 5000,
)  # fmt: skip

# What the application does -> (what the client sees, probes). The first two are in docs/http.md.
TABLE: Final[dict[str, tuple[str, list[Probe]]]] = {
    "closes or resets without an answer": (
        (
            "502 `upstream-closed`; on a connection that had served before, a GET, HEAD or OPTIONS "
            "without body is sent once more"
        ),
        [
            Probe(b"", _CLOSED),
            Probe(_resetting_after(b""), _CLOSED),
            Probe(b"", _CLOSED, "POST", b"abc"),
            Probe(b"HTTP/1.1 200 OK\r\nA: b", _CLOSED),
            Probe(b"HTTP/1.1 103 Early Hints\r\n\r\n", _CLOSED),
            Probe(b"<html>no head at all: HTTP/0.9</html>", _CLOSED),
        ],
    ),
    "does not finish its head in time": (
        "504 `upstream-timeout`, drop by drop or not",
        [
            Probe(b"", Reason.UPSTREAM_TIMEOUT, stays=True),
            Probe(b"HTTP/1.1 200 OK\r\nA: b", Reason.UPSTREAM_TIMEOUT, stays=True),
            Probe(_dripping(b"HTTP/1.1 200 OK\r\nA: ", 0.01), Reason.UPSTREAM_TIMEOUT),
        ],
    ),
    "sends a status line that is none (HTTP/0.9, HTTP/2, another protocol, garbage)": (
        "502 `upstream-malformed`",
        [
            Probe(f"{line}\r\nContent-Length: 2\r\n\r\nok".encode("latin-1"), _MALFORMED)
            for line in _STATUS_LINES
        ]
        + [
            Probe(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", _MALFORMED, stays=True),
            Probe(b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", _MALFORMED),
        ],
    ),
    "sends a malformed field (NUL, bare CR or LF, folding, no name)": (
        "502 `upstream-malformed`",
        [Probe(_ok(line, "Content-Length: 2", body="ok"), _MALFORMED) for line in _FIELDS],
    ),
    "frames its body ambiguously (two lengths, length and chunked, another coding)": (
        "502 `upstream-malformed`, also where two lengths agree",
        [Probe(_ok(line, body="ok"), _MALFORMED) for line in _LENGTHS]
        + [
            Probe(_ok(line, status="304 Not Modified"), _MALFORMED)
            for line in ("Content-Length: x", f"Content-Length: 5\r\n{_CHUNKED}")
        ]
        + [Probe(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", _MALFORMED)],
    ),
    "sends a head without end, over `head_bytes` or of more than 1 000 fields": (
        "502 `upstream-malformed`",
        [
            Probe(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5_000 + b"\r\n", _MALFORMED),
            Probe(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000, _MALFORMED),
            Probe(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000, _MALFORMED),
            Probe(_flooding(b"b" * 10_000), _MALFORMED),
        ],
    ),
    "sends 1xx": (
        (
            "102 and 103 are passed on, 100 only where it was expected, none to HTTP/1.0; after 16 "
            "of them, or a 101 that nobody asked for, 502 `upstream-malformed`"
        ),
        [
            Probe(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok", head="!100"),
            Probe(b"HTTP/1.1 103 x\r\nLink: </a>\r\n\r\n" + OK, b"ok", head="103 Early Hints"),
            Probe(b"HTTP/1.1 103 x\r\n\r\n" * 16 + OK, b"ok"),
            Probe(b"HTTP/1.1 103 x\r\n\r\n" * 17 + OK, _MALFORMED),
            Probe(_flooding(b"HTTP/1.1 103 x\r\n\r\n"), _MALFORMED),
            Probe(b"HTTP/1.1 101 x\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\nraw", _MALFORMED),
            Probe(b"HTTP/1.1 101 x\r\n\r\n" + OK, _MALFORMED),
        ],
    ),
    "closes, resets or stalls in the middle of a body": (
        "what was sent, then a reset: never a clean end",
        [
            Probe(_ok("Content-Length: 10", body="abc"), BREAKS),
            Probe(_ok("Content-Length: 10", body="abc"), BREAKS, stays=True),
            Probe(_ok(_CHUNKED, body="A\r\nabc"), BREAKS),
            Probe(_ok(_CHUNKED, body="3\r\nabc\r\n"), BREAKS),
            Probe(_ok(_CHUNKED, body="3\r\nabc\r\n0\r\nA: b\r\n"), BREAKS),
            Probe(_resetting_after(_ok("Content-Length: 10", body="abc")), BREAKS),
            Probe(_resetting_after(_ok(_CHUNKED, body="3\r\nabc\r\n")), BREAKS),
            Probe(_resetting_after(_ok(body="abc")), BREAKS),
            Probe(_ok(body="abc"), BREAKS, stays=True),
        ],
    ),
    "breaks the framing of a body": (
        "502 `upstream-malformed` where its head has not left yet, otherwise a reset",
        [Probe(_ok(_CHUNKED, body=chunk), _MALFORMED) for chunk in _BAD_CHUNKS]
        + [
            Probe(_dripping(_ok(_CHUNKED, body=_BAD_CHUNKS[0]), 0.0), BREAKS),
        ],
    ),
    "sends a body with 204, 304 or to HEAD": (
        "the head; the body reaches nobody, and its connection is not used again",
        [
            Probe(_ok(body="extra", status="204 No Content"), b"", status=204),
            Probe(_ok("Content-Length: 5", body="extra", status="204 x"), b"", status=204),
            Probe(_ok(_CHUNKED, body="0\r\n\r\n", status="204 x"), b"", status=204),
            Probe(_ok("Content-Length: 5", body="extra", status="304 x"), b"", status=304),
            Probe(_ok("Content-Length: 5", body="extra"), b"", "HEAD"),
            Probe(_ok(_CHUNKED, body="5\r\nextra\r\n0\r\n\r\n"), b"", "HEAD"),
            Probe(_ok(body="extra"), b"", "HEAD"),
            Probe(_ok("Content-Length: 65") + EVIL, b"", "HEAD"),
        ],
    ),
    "sends more than it announced, or what nobody asked for": (
        "what was announced; the rest reaches nobody",
        [
            Probe(OK + EVIL, b"ok", stays=True),
            Probe(OK + b"X", b"ok", stays=True),
            Probe(OK + b"\r\n", b"ok", stays=True),
            Probe(_ok(_CHUNKED, body="2\r\nok\r\n0\r\n\r\n") + EVIL, b"ok", stays=True),
            Probe(_ok("Content-Length: 0") + EVIL, b"", stays=True),
        ],
    ),
    "answers before the request is complete": (
        "that answer, with `Connection: close`; the application's connection is not used again",
        [
            Probe(OK, b"ok", "POST", b"abc", is_cut=True, head="Connection: close"),
            Probe(OK, b"ok", "POST", b"abc", is_cut=True, stays=True, head="Connection: close"),
            Probe(
                _ok("Content-Length: 3", body="big", status="413 x"),
                b"big", "POST", b"abc", is_cut=True, status=413, head="Connection: close",
            ),
        ],
    ),
    "adds trailers, chunk extensions, a reason phrase, hop-by-hop fields": (
        "none of them",
        [
            Probe(
                _ok(_CHUNKED, "Trailer: X-T", body="2;a=b\r\nok\r\n0\r\nX-T: x\r\n\r\n"),
                b"ok", head="!X-T",
            ),
            Probe(_ok("Content-Length: 2", body="ok", status="200 Really"), b"ok", head="!Really"),
            Probe(_ok("Keep-Alive: max=9", "Content-Length: 2", body="ok"), b"ok", head="!Keep"),
            Probe(
                _ok("Connection: X-Hop", "X-Hop: 1", "Content-Length: 2", body="ok"),
                b"ok", head="!X-Hop",
            ),
            Probe(_ok("Proxy-Authenticate: x", "Content-Length: 0"), b"", head="!Proxy"),
            Probe(_ok("X-Request-Id: forged", "Content-Length: 0"), b"", head="!forged"),
        ],
    ),
    "sets a cookie of our session's name": (
        "its other cookies",
        [
            Probe(
                _ok(f"Set-Cookie: {cookie}", "Set-Cookie: a=b", "Content-Length: 2", body="ok"),
                b"ok", head="!evil",
            )
            for cookie in (
                "sidecar_session=evil", "sidecar_session = evil", " sidecar_session=evil; Path=/",
                "=sidecar_session=evil", "= sidecar_session=evil",
            )
        ],
    ),
    "speaks HTTP/1.0": (
        "the answer; the connection is used again only with `Connection: keep-alive` and a length",
        [
            Probe(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", stays=True),
            Probe(b"HTTP/1.0 200 OK\r\n\r\nuntil the close", b"until the close"),
            Probe(
                b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
                b"ok", stays=True,
            ),
        ],
    ),
}  # fmt: skip


# What these leave behind must not be met by another request, however long the application stays.
_NEVER_AGAIN: Final = (
    "sends a body with 204, 304 or to HEAD",
    "sends more than it announced, or what nobody asked for",
    "answers before the request is complete",
)


def _serving(probe: Probe) -> ScriptedUpstream:
    """Misbehaves once a connection, but answers canaries as it should."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_head(reader)
            fields = fields_of(head)
            if b" /canary" in head:
                number = fields["x-nonce"].encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nX-Nonce: %b\r\nContent-Length: 0\r\n\r\n" % number
                )
                continue
            await reader.readexactly(0 if probe.is_cut else int(fields.get("content-length", "0")))
            if not isinstance(probe.octets, bytes):
                await probe.octets(reader, writer)
                return
            writer.write(probe.octets)
            await writer.drain()
            if not probe.stays:
                return

    return ScriptedUpstream(serve)


async def _canary(client: RawClient) -> None:
    number = str(next(_numbers))
    response = await client.get("/canary", f"X-Nonce: {number}")
    assert (response.status, response.fields.get("x-nonce")) == (200, number)


async def _final(client: RawClient, method: str) -> tuple[bytes, Response]:
    """All heads that came, and the final response."""
    heads = b""
    while (response := await client.response(method)).status < 200:
        heads += response.head
    return heads + response.head, response


async def _see(client: RawClient, probe: Probe) -> None:
    lines = [f"Content-Length: {len(probe.body) * (9 if probe.is_cut else 1)}"]
    octets = request("/probe", *(lines if probe.body else ()), method=probe.method, body=probe.body)
    await client.send(octets)
    if probe.sees == BREAKS:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await _final(client, probe.method)
        return
    head, response = await _final(client, probe.method)
    if isinstance(probe.sees, Reason):
        expected = 504 if probe.sees is Reason.UPSTREAM_TIMEOUT else 502
        assert (response.status, response.json()["reason"]) == (expected, probe.sees)
    else:
        assert (response.status, response.body) == (probe.status, probe.sees)
    wanted, unwanted = probe.head.removeprefix("!"), probe.head.startswith("!")
    assert not wanted or (wanted in head.decode("latin-1")) is not unwanted
    if response.fields.get("connection") != "close":
        await _canary(client)


@pytest.mark.parametrize("behaviour", TABLE)
async def test_what_the_client_sees(behaviour: str) -> None:
    is_last = behaviour in _NEVER_AGAIN
    for probe in TABLE[behaviour][1]:
        async with (
            _serving(replace(probe, stays=probe.stays or is_last)) as upstream,
            running_plane(upstream.url, upstream=QUICK, listen=LISTEN) as plane,
        ):
            client, other = await plane.client(), await plane.client()
            try:
                await _see(client, probe)
                await _canary(other)
                await _canary(other)
            finally:
                client.close()
                other.close()
            await plane.until(lambda plane=plane: plane.server.open_connections == 0)  # type: ignore[misc]  # bound
            assert all(exchange.is_over for exchange in plane.ended)
            assert not is_last or upstream.connections >= 2


def test_the_documentation_has_this_table() -> None:
    text = DOCUMENT.read_text().partition("### What a misbehaving application does")[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text.partition("\n## ")[0], re.MULTILINE)
    assert dict(rows[1:]) == {behaviour: sees for behaviour, (sees, _) in TABLE.items()}


# -- Connections: when they are used again ---------------------------------------------------------


async def _connections_for(answer: bytes) -> int:
    """How many connections two requests take."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        bodies = [(await client.get("/")).body for _ in range(2)]
        client.close()
        assert bodies == [b"ok", b"ok"]
        return upstream.connections


@pytest.mark.parametrize(
    ("lines", "connections"),
    [
        ("HTTP/1.1 200 OK", 1),
        ("HTTP/1.1 200 OK\r\nConnection: close", 2),
        ("HTTP/1.1 200 OK\r\nConnection: x, CLOSE", 2),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive", 1),
        ("HTTP/1.0 200 OK", 2),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive", 1),
        ("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=100", 1),
        ("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0", 2),
        ("HTTP/1.1 200 OK\r\nKeep-Alive: max=0", 2),
        ("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=x, max=y", 1),
    ],
)
async def test_connections_are_used_again_as_the_application_allows(
    lines: str, connections: int
) -> None:
    answer = f"{lines}\r\nContent-Length: 2\r\n\r\nok".encode()
    assert await _connections_for(answer) == connections


async def test_a_connection_rests_no_longer_than_the_application_keeps_it() -> None:
    """Keep-Alive: timeout=1 against idle_seconds of 1.5: ours ends first, well before."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n")

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        assert (await client.get("/")).status == 200
        client.close()
        (connection,) = plane.pool._idle
        assert connection.deadline - plane.pool.now() < 0.6


async def test_an_old_connection_is_not_used_again() -> None:
    """What its name leads to may be another by now."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(OK)

    async with ScriptedUpstream(serve) as upstream, running_plane(upstream.url) as plane:
        client = await plane.client()
        assert (await client.get("/")).status == 200
        plane.pool._idle[0].retires = plane.pool.now()
        assert (await client.get("/")).status == 200
        assert (await client.get("/")).status == 200
        client.close()
        assert upstream.connections == 2


@pytest.mark.parametrize("late", [EVIL, b"X", b""], ids=["a response", "a byte", "the end"])
async def test_what_has_arrived_before_is_not_the_next_answer(late: bytes) -> None:
    """PROMISES 6: also where the loop had no time to read it between two requests."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        async with running_plane(f"http://127.0.0.1:{listener.getsockname()[1]}") as plane:
            client = await plane.client()
            await client.send(request("/first"))
            first = await asyncio.to_thread(_accept_and_answer, listener)
            assert (await client.response()).body == b"ok"
            (downstream,) = plane.server._downstreams
            # From here to the next await the loop reads nothing.
            first.send(late) if late else first.shutdown(socket.SHUT_WR)
            downstream.data_received(request("/second", method="POST"))
            second = await asyncio.to_thread(_accept_and_answer, listener)
            assert (await client.response()).body == b"ok"
            await plane.until(lambda: plane.pool.size == 1)
            client.close()
            first.close()
            second.close()


def _accept_and_answer(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(5)
    assert connection.recv(65_536)
    connection.sendall(OK)
    return connection
