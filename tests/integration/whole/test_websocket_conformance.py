"""The classes of Autobahn's fuzzing client: the same verdicts through the sidecar as directly.

Each case is octets that a client sends, whole or octet by octet, to the same real server with and
without the sidecar between; what comes back has to be the same, to the close code.
"""

import asyncio
import zlib
from collections.abc import Iterator

from tests.integration.whole.conftest import Start
from tests.integration.whole.sockets import Peer, sockets
from tests.unit.relay.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    closing,
    frame,
)

END = frame(CLOSE, closing(1000))
_SIZES = (0, 1, 125, 126, 127, 128, 65_535, 65_536)


def deflated(payload: bytes) -> bytes:
    """As permessage-deflate does (RFC 7692 section 7.2.1), without context of before."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def cases() -> Iterator[tuple[str, bytes]]:
    """Name, beginning with Autobahn's class, and octets."""
    for size in _SIZES:
        yield f"1.1 text of {size}", frame(TEXT, b"*" * size) + END
        yield f"1.2 binary of {size}", frame(BINARY, b"\xfe" * size) + END
    for size in (0, 1, 125):
        yield f"2 ping of {size}", frame(PING, b"\xfe" * size) + END
    yield "2.5 ping of 126", frame(PING, b"\xfe" * 126)
    yield "2.7 pongs nobody asked for", frame(PONG) + frame(PONG, b"x") + frame(PING, b"y") + END
    yield "2.10 ten pings", b"".join(frame(PING, b"%d" % at) for at in range(10)) + END
    for bits in range(1, 8):
        for opcode in (TEXT, BINARY, PING, CLOSE):
            octets = frame(TEXT, b"before") + frame(opcode, reserved=bits << 4) + frame(PING)
            yield f"3 reserved bits {bits} of {opcode}", octets
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"4 opcode {opcode}", frame(TEXT, b"before") + frame(opcode, b"x") + frame(PING)
    two = frame(TEXT, b"frag", final=False) + frame(CONTINUATION, b"ment")
    yield "5.1 ping in fragments", frame(PING, b"a", final=False) + frame(CONTINUATION, b"b")
    yield "5.2 pong in fragments", frame(PONG, b"a", final=False) + frame(CONTINUATION, b"b")
    yield "5.3 two fragments", two + END
    between = frame(TEXT, b"a", final=False) + frame(PING, b"p") + frame(CONTINUATION, b"b")
    yield "5.6 ping between", between + END
    yield "5.9 continuation of nothing", frame(CONTINUATION, b"x") + frame(TEXT, b"y")
    yield "5.10 continuation after the end", two + frame(CONTINUATION, b"more")
    yield "5.18 two beginnings", frame(TEXT, b"a", final=False) + frame(TEXT, b"b")
    many = frame(TEXT, b"0", final=False)
    many += b"".join(
        frame(CONTINUATION, b"%d" % at, final=False) + frame(PING, b"%d" % at) for at in range(1, 6)
    )
    yield "5.19 many fragments and pings", many + frame(CONTINUATION) + END
    texts = {
        "6.2 characters": "Hellö-µ@ßöäüàá-UTF-8!! κόσμε 𝄞".encode(),
        "6.3 surrogate": b"\xce\xba\xed\xa0\x80edited",
        "6.4 cut": b"\xf4\x90\x80\x80",
        "6.6 overlong": b"\xc0\xaf",
        "6.21 noncharacter": b"\xef\xbf\xbf",
    }
    for name, payload in texts.items():
        yield name, frame(TEXT, payload) + END
    split = "κ".encode()
    octets = frame(TEXT, split[:1], final=False) + frame(CONTINUATION, split[1:])
    yield "6.2 a character in two fragments", octets + END
    yield "7.1 close and more", END + frame(TEXT, b"after") + frame(PING)
    yield "7.1 close twice", END + END
    yield "7.3 close without code", frame(CLOSE)
    yield "7.3 half a code", frame(CLOSE, b"\x03")
    yield "7.3 reason of 123", frame(CLOSE, closing(1000, b"*" * 123))
    yield "7.3 reason of 124", frame(CLOSE, closing(1000, b"*" * 124))
    yield "7.5 reason that is no text", frame(CLOSE, closing(1000, b"\xce\xba\xed\xa0\x80"))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7.7 code {code}", frame(CLOSE, closing(code))
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535):
        yield f"7.9 code {code}", frame(CLOSE, closing(code))
    for size in (1 << 20, 4 << 20):
        yield f"9 {size} octets", frame(BINARY, b"x" * size) + END
    pieces = [b"x" * 4096] * 64
    octets = frame(TEXT, pieces[0], final=False)
    octets += b"".join(frame(CONTINUATION, piece, final=False) for piece in pieces[1:])
    yield "10 automatic fragments", octets + frame(CONTINUATION) + END


def compressed_cases() -> Iterator[tuple[str, bytes]]:
    for size in (16, 1024, 70_000):
        payload = deflated(b"abc " * (size // 4))
        yield f"12 of {size}", frame(TEXT, payload, reserved=0x40) * 3 + END
        half = len(payload) // 2
        octets = frame(BINARY, payload[:half], reserved=0x40, final=False)
        yield f"13 in fragments of {size}", octets + frame(CONTINUATION, payload[half:]) + END
    yield "12 not compressed", frame(TEXT, b"plain") + END
    yield (
        "12 reserved bit of a continuation",
        (frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"b", reserved=0x40)),
    )


# aiohttp takes these close codes, which may not stand in a frame (RFC 6455 section 7.4.1).
STRICTER: dict[str, tuple[list[object], list[object]]] = {
    f"7.9 code {code}": ([("close", 1000)], [("close", 1002)]) for code in (1006, 5000, 65_535)
}


async def verdict(
    url: str, target: str, fields: tuple[str, ...], octets: bytes, *, chopped: bool
) -> list[object]:
    """What comes back: data frames joined to messages, pongs, the close code."""
    peer = await Peer.connect(url)
    head = await peer.open(target, *fields)
    assert head.startswith(b"HTTP/1.1 101 "), head
    sending = asyncio.create_task(send(peer, octets, chopped=chopped))
    found: list[object] = []
    try:
        while True:
            opcode, payload = await peer.frame()
            if opcode == CLOSE:
                found.append(("close", int.from_bytes(payload[:2], "big") if payload else 1005))
                break
            found.append((opcode, payload))
    except (asyncio.IncompleteReadError, ConnectionError):
        found.append(("close", 1006))
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    peer.writer.transport.abort()
    return found


async def send(peer: Peer, octets: bytes, *, chopped: bool) -> None:
    pieces = [octets[at : at + 1] for at in range(len(octets))] if chopped else [octets]
    for piece in pieces:
        try:
            await peer.send(piece)
        except ConnectionError:
            return
        await asyncio.sleep(0)


async def test_the_same_verdicts_as_directly(start: Start) -> None:
    differing: dict[str, tuple[list[object], list[object]]] = {}
    async with sockets(start) as (whole, app):
        for name, octets in cases():
            for chopped in (False, True) if len(octets) < 500 else (False,):
                direct = await verdict(app.url, "/public", (), octets, chopped=chopped)
                through = await verdict(whole.url, "/public", (), octets, chopped=chopped)
                if through != direct:
                    differing[name] = direct, through
    assert differing == STRICTER


async def test_the_same_verdicts_where_messages_are_compressed(start: Start) -> None:
    offer = ("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",)
    async with sockets(start) as (whole, app):
        for name, octets in compressed_cases():
            for target in ("/public?deflate",):
                direct = await verdict(app.url, target, offer, octets, chopped=False)
                through = await verdict(whole.url, target, offer, octets, chopped=False)
                assert through == direct, name
