"""Seeds for the fuzz targets, and what may happen to them."""

import random
from typing import Final

from tests.conformance.corpora import (
    fields,
    framing,
    hosts,
    protocols,
    start_lines,
    targets,
    transfer_encoding,
)

_HEADS: Final = [
    case.octets.partition(b"\r\n\r\n")[0]
    for corpus in (fields, framing, hosts, protocols, start_lines, targets, transfer_encoding)
    for case in corpus.CASES
    if len(case.octets) < 2_000
]
_BODIES: Final = [
    case.octets.partition(b"\r\n\r\n")[2]
    for corpus in (framing, transfer_encoding)
    for case in corpus.CASES
    if len(case.octets) < 2_000
]
SEEDS: Final[dict[str, list[bytes]]] = {
    "request": _HEADS,
    "chunks": [*_BODIES, b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nrest"],
    "response": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\nConnection: X-Y\r\nX-Y: z",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: sidecar_session=evil; Path=/\r\nX: y",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5, max=3",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>",
    ],
    "target": [head.split(b" ")[1] for head in _HEADS if head.count(b" ") > 1],
    "host": [b"app.example:8080", b"[::1]:80", b"127.0.0.1", b"timeout=5, max=3", b"a@b:1"],
    "proxy_header": [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
        b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb",
        b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
    ],
}
_AWKWARD: Final = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b"\x0b", b":", b";", b",", b"=", b"/",
    b"//", b"/../", b"\\", b"%", b"%2e", b"%2f", b"%00", b"\x7f", b"\x80", b"\xff", b"\xc0\xae",
    b"@",
    b"0", b"-1", b"0x", b"ffffffffffffffff", b"chunked", b"Content-Length: 1", b"X_Auth_User: root",
    b"Transfer-Encoding: chunked", b"Connection: X-Auth-User", b"HTTP/1.1", b"?", b"#", b"..",
]  # fmt: skip


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """One of `seeds`, changed in a few places or joined with another."""
    octets = chance.choice(seeds)
    for _ in range(chance.choice([0, 1, 1, 2, 3, 8])):
        at = chance.randint(0, len(octets))
        kind = chance.randrange(5)
        if kind == 0:
            octets = octets[:at] + chance.choice(_AWKWARD) + octets[at:]
        elif kind == 1:
            octets = octets[:at] + octets[at + chance.randint(1, 4) :]
        elif kind == 2:
            octets = octets[:at] + bytes((chance.randrange(256),)) + octets[at + 1 :]
        elif kind == 3:
            end = min(len(octets), at + chance.randint(1, 30))
            octets = octets[:end] + octets[at:end] + octets[end:]
        else:
            other = chance.choice(seeds)
            octets = octets[:at] + other[chance.randint(0, len(other)) :]
    return octets
