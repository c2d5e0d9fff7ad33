"""PROXY headers: what is read, what is refused, and that not one byte more is taken."""

import re
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.parse.proxy_protocol import (
    LONGEST_HEADER,
    LONGEST_LINE,
    SIGNATURE,
    Origin,
    ProxyMalformedError,
    crc32c,
    measure,
    parse,
)


def block(
    family: int, body: bytes, *, command: int = 0x21, additions: bytes = b"", length: int = -1
) -> bytes:
    """A header of version 2."""
    rest = body + additions
    size = len(rest) if length < 0 else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + rest


def addition(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


V4 = bytes((192, 0, 2, 7, 10, 0, 0, 1)) + b"\x30\x39\x01\xbb"
V6 = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + b"\x30\x39\x01\xbb"
UNIX = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")


def with_checksum(header: bytes) -> bytes:
    """`header`, whose last addition is an empty checksum, with the right one."""
    return header[:-4] + crc32c(header).to_bytes(4, "big")


CHECKED = with_checksum(
    block(0x11, V4, additions=addition(0x04, b"pad") + addition(0x03, bytes(4)))
)

READ = {
    b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n": "192.0.2.7",
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": "255.255.255.255",
    b"PROXY TCP4 192.0.2.7 10.0.0.1 0 443\r\n": "192.0.2.7",
    b"PROXY TCP6 2001:DB8:0:0::7 ::1 12345 443\r\n": "2001:db8::7",
    b"PROXY TCP6 ::ffff:192.0.2.7 ::1 12345 443\r\n": "192.0.2.7",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": "",
    block(0x11, V4): "192.0.2.7",
    block(0x21, V6): "2001:db8::7",
    block(0x21, IPv6Address("::ffff:192.0.2.7").packed + V6[16:]): "192.0.2.7",
    block(0x31, UNIX): "unix",
    block(0x00, b""): "",
    block(0x00, b"whatever"): "",
    block(0x11, V4, command=0x20): "",
    block(0x00, b"", command=0x20): "",
    block(0x11, V4, additions=addition(0xEA, b"vpce-1234") + addition(0x04, b"")): "192.0.2.7",
    CHECKED: "192.0.2.7",
}


@pytest.mark.parametrize("header", READ, ids=repr)
def test_what_is_read(header: bytes) -> None:
    assert measure(header) == (len(header), True)
    assert parse(header) == Origin(READ[header])


@pytest.mark.parametrize("header", READ, ids=repr)
def test_exactly_the_header_is_taken_however_it_is_cut(header: bytes) -> None:
    stream = header + header + b"GET / HTTP/1.1\r\n"
    for cut in range(1, len(stream)):
        belongs, whole = measure(stream[:cut])
        assert belongs == min(cut, len(header))
        assert whole == (cut >= len(header))


def twice_checked() -> bytes:
    """Two checksums, of which the first is right."""
    empty = addition(0x03, bytes(4))
    header = block(0x11, V4, additions=empty + empty)
    return header[:31] + crc32c(header).to_bytes(4, "big") + header[35:]


REFUSED = {
    "another protocol": b"GET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "lower case": b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
    "a signature that goes wrong": SIGNATURE[:-1] + b"!",
    "two spaces": b"PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
    "a space at the end": b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
    "a word too many": b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
    "a word too few": b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
    "no words": b"PROXY \r\n",
    "datagrams": b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
    "an address of the other family": b"PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n",
    "the other family's address": b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
    "a wrong destination": b"PROXY TCP4 192.0.2.7 10.0.0 1 2\r\n",
    "octal": b"PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n",
    "a scope": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "a large port": b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
    "a port with a zero": b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
    "a signed port": b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
    "no port": b"PROXY TCP4 192.0.2.7 10.0.0.1  2\r\n",
    "Arabic digits": b"PROXY TCP4 192.0.2.7 10.0.0.1 \xd9\xa1 2\r\n",
    "a bare LF": b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\nGET / HTTP/1.1\r\n",
    "a line without end": b"PROXY UNKNOWN ".ljust(LONGEST_LINE, b"x"),
    "a line one too long": b"PROXY UNKNOWN ".ljust(LONGEST_LINE - 1, b"x") + b"\r\n",
    "version 3": block(0x11, V4, command=0x31),
    "version 1 in the block": block(0x11, V4, command=0x11),
    "another command": block(0x11, V4, command=0x22),
    "UDP": block(0x12, V4),
    "unix datagrams": block(0x32, UNIX),
    "a family of its own": block(0x41, V4),
    "an unspecified transport": block(0x10, V4),
    "addresses cut short": block(0x11, V4[:-1]),
    "too long": block(0x11, V4.ljust(LONGEST_HEADER - 15, b"\0")),
    "far too long": block(0x11, V4, length=0xFFFF),
    "an addition cut short": block(0x11, V4, additions=b"\x04\0\x04abc"),
    "an addition without length": block(0x11, V4, additions=b"\x04\0"),
    "a wrong checksum": block(0x11, V4, additions=addition(0x03, b"abcd")),
    "a short checksum": block(0x11, V4, additions=addition(0x03, b"abc")),
    "two checksums": twice_checked(),
}


@pytest.mark.parametrize("octets", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(octets: bytes) -> None:
    with pytest.raises(ProxyMalformedError):
        belongs, whole = measure(octets)
        assert whole, "it would be waited for"
        parse(octets[:belongs])


@pytest.mark.parametrize("header", [b"", b"PROXY", block(0x11, V4) + b"x", block(0x11, V4)[:20]])
def test_what_is_not_whole_is_not_parsed(header: bytes) -> None:
    with pytest.raises(ProxyMalformedError):
        parse(header)


def test_the_longest_of_both_versions() -> None:
    line = b"PROXY UNKNOWN ".ljust(LONGEST_LINE - 2, b"x") + b"\r\n"
    header = block(0x11, V4, additions=addition(0x04, bytes(LONGEST_HEADER - 16 - 12 - 3)))
    assert len(header) == LONGEST_HEADER
    assert parse(line) == Origin("")
    assert parse(header) == Origin("192.0.2.7")


def test_the_checksum_is_that_of_the_standard() -> None:
    """RFC 3720 appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"123456789") == 0xE3069283


@given(st.integers(0, 2**32 - 1), st.integers(0, 65535), st.integers(0, 65535))
def test_any_v4_client(client: int, port: int, other: int) -> None:
    address = IPv4Address(client)
    line = f"PROXY TCP4 {address} 10.0.0.1 {port} {other}\r\n".encode()
    body = address.packed + V4[4:8] + port.to_bytes(2, "big") + other.to_bytes(2, "big")
    assert parse(line) == parse(block(0x11, body)) == Origin(str(address))


@given(st.one_of(st.binary(min_size=1, max_size=600), st.from_regex(rb"PROXY .*\r\n")))
@example(SIGNATURE + b"\x21\x11\0\x0c" + V4)
def test_anything_is_bounded_and_either_read_refused_or_waited_for(octets: bytes) -> None:
    try:
        belongs, whole = measure(octets)
        assert 0 < belongs <= min(len(octets), LONGEST_HEADER)
        if whole:
            address = parse(octets[:belongs]).address
            assert re.fullmatch(r"|unix|[0-9a-f:.]+", address)
        else:
            assert belongs == len(octets) < LONGEST_HEADER
    except ProxyMalformedError:
        pass
