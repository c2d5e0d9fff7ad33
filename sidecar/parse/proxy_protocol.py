"""The PROXY protocol, versions 1 and 2: whom a load balancer speaks for. Strict and bounded.

The header stands before everything else on a connection, TLS included, and nothing tells where it
ends but itself. So whoever reads it must take exactly its bytes from the socket: `measure` says how
many of those at hand are certainly part of it, `parse` reads it when it is whole.

Source: "The PROXY protocol", versions 1 & 2, HAProxy, sections 2.1 and 2.2.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
# With CRLF (section 2.1): the longest line is that of an UNKNOWN with two IPv6 addresses.
LONGEST_LINE: Final = 107
# Section 2.2: receivers must take 16 + 216 bytes; load balancers add a few hundred of TLVs.
LONGEST_HEADER: Final = 536

_FIXED: Final = 16
_LINE_START: Final = b"PROXY "
_VERSION: Final = 0x20
_LOCAL, _PROXY = 0x0, 0x1
_UNSPEC: Final = 0x00
_TCP4, _TCP6, _UNIX = 0x11, 0x21, 0x31
# Bytes of the addresses, by family and transport. Datagrams never reach a stream listener.
_ADDRESS_BYTES: Final = {_TCP4: 12, _TCP6: 36, _UNIX: 216}
_CHECKSUM: Final = 0x03
# No leading zeros: two spellings of one port would be two readings.
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_V4: Final = re.compile(rb"[0-9.]{7,15}")
_V6: Final = re.compile(rb"[0-9A-Fa-f:.]{2,39}")


class ProxyMalformedError(ValueError):
    """The bytes are no PROXY header; the message says why and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom the connection comes from, as the load balancer tells.

    Attributes:
        address: IP address without port, or ``unix``; ``""`` where the load balancer speaks for
            itself (LOCAL: a health check) or does not know (UNKNOWN, UNSPEC).
    """

    address: str


UNTOLD: Final = Origin("")


def measure(octets: bytes) -> tuple[int, bool]:
    """How much of what was read so far belongs to the header.

    Args:
        octets: the beginning of the connection, from one byte on.

    Returns:
        How many of `octets` are part of the header, and whether it is whole with them.

    Raises:
        ProxyMalformedError: this begins no header, or one that is too long.
    """
    if octets[: len(_LINE_START)] == _LINE_START[: len(octets)]:
        return _measure_line(octets)
    if octets[: len(SIGNATURE)] == SIGNATURE[: len(octets)]:
        return _measure_block(octets)
    raise ProxyMalformedError("neither version 1 nor version 2")


def _measure_line(octets: bytes) -> tuple[int, bool]:
    end = octets.find(b"\r\n", 0, LONGEST_LINE)
    if end >= 0:
        return end + 2, True
    if len(octets) >= LONGEST_LINE:
        raise ProxyMalformedError("a line that does not end")
    return len(octets), False


def _measure_block(octets: bytes) -> tuple[int, bool]:
    if len(octets) < _FIXED:
        return len(octets), False
    length = _FIXED + int.from_bytes(octets[14:16], "big")
    if length > LONGEST_HEADER:
        raise ProxyMalformedError("a header that is too long")
    return min(length, len(octets)), len(octets) >= length


def parse(header: bytes) -> Origin:
    """Read a header that is whole (`measure`).

    Raises:
        ProxyMalformedError: it is not exactly what the specification says.
    """
    if header.startswith(SIGNATURE):
        return _parse_block(header)
    return _parse_line(header)


def _parse_line(line: bytes) -> Origin:
    if not line.startswith(_LINE_START) or not line.endswith(b"\r\n"):
        raise ProxyMalformedError("not a line of version 1")
    words = line[len(_LINE_START) : -2].split(b" ")
    if words[0] == b"UNKNOWN":
        # What follows must be ignored (section 2.1).
        return UNTOLD
    if len(words) != 5 or words[0] not in {b"TCP4", b"TCP6"}:
        raise ProxyMalformedError("not TCP4, TCP6 or UNKNOWN with two addresses and two ports")
    _, source, destination, *ports = words
    for port in ports:
        if not _PORT.fullmatch(port) or int(port) > 65_535:
            raise ProxyMalformedError("not a port")
    read = _v4 if words[0] == b"TCP4" else _v6
    read(destination)
    return Origin(read(source))


def _v4(text: bytes) -> str:
    try:
        if _V4.fullmatch(text):
            return str(IPv4Address(text.decode("ascii")))
    except ValueError:
        pass
    raise ProxyMalformedError("not an IPv4 address")


def _v6(text: bytes) -> str:
    try:
        if _V6.fullmatch(text):
            return _plain(IPv6Address(text.decode("ascii")))
    except ValueError:
        pass
    raise ProxyMalformedError("not an IPv6 address")


def _plain(address: IPv6Address) -> str:
    """One spelling for each client: ``::ffff:192.0.2.1`` is 192.0.2.1."""
    return str(address.ipv4_mapped or address)


def _parse_block(header: bytes) -> Origin:
    if len(header) < _FIXED or len(header) != _FIXED + int.from_bytes(header[14:16], "big"):
        raise ProxyMalformedError("not as long as it says")
    version, family = header[12], header[13]
    if version & 0xF0 != _VERSION or version & 0x0F not in {_LOCAL, _PROXY}:
        raise ProxyMalformedError("an unknown version or command")
    if version & 0x0F == _LOCAL:
        # The load balancer's own connection; whatever follows must be ignored (section 2.2).
        return UNTOLD
    if family == _UNSPEC:
        return UNTOLD
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        raise ProxyMalformedError("an address family or transport that is not ours")
    body = header[_FIXED:]
    if len(body) < size:
        raise ProxyMalformedError("too short for its addresses")
    _check_additions(header, _FIXED + size)
    if family == _TCP4:
        return Origin(str(IPv4Address(body[:4])))
    if family == _TCP6:
        return Origin(_plain(IPv6Address(body[:16])))
    return Origin("unix")


def _check_additions(header: bytes, start: int) -> None:
    """Skip the TLVs (section 2.2.1), and verify the checksum where there is one (2.2.4)."""
    checked = False
    while start < len(header):
        value = start + 3
        end = value + int.from_bytes(header[start + 1 : value], "big")
        if end > len(header):
            raise ProxyMalformedError("an addition longer than the header")
        if header[start] == _CHECKSUM:
            if checked or end - value != 4:
                raise ProxyMalformedError("not one checksum of four bytes")
            checked = True
            blank = header[:value] + bytes(4) + header[end:]
            if crc32c(blank) != int.from_bytes(header[value:end], "big"):
                raise ProxyMalformedError("the checksum differs")
        start = end


def _crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        remainder = number
        for _ in range(8):
            # The Castagnoli polynomial, reflected (RFC 9260 appendix A).
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


_TABLE: Final = _crc_table()


def crc32c(octets: bytes) -> int:
    """The CRC-32C of `octets` (RFC 9260 appendix A); 50 µs for the longest header."""
    remainder = 0xFFFFFFFF
    for octet in octets:
        remainder = remainder >> 8 ^ _TABLE[(remainder ^ octet) & 0xFF]
    return remainder ^ 0xFFFFFFFF
