"""Heads of requests: what is read, what is refused, and that nothing has two readings."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.parse.request import RequestReader, unread_head


@pytest.fixture
def reader() -> RequestReader:
    return RequestReader(target_bytes=1024, most_fields=50)


def raw(start: str = "GET / HTTP/1.1", *fields: str) -> bytes:
    return "\r\n".join((start, *fields, "", "")).encode("latin-1")


def read(reader: RequestReader, start: str, *fields: str) -> RequestHead:
    head = reader.read(raw(start, *fields))
    assert isinstance(head, RequestHead), head
    return head


def refused(reader: RequestReader, start: str, *fields: str) -> Reason:
    found = reader.read(raw(start, *fields))
    assert isinstance(found, Denial), found
    return found.reason


def test_everything_of_a_head(reader: RequestReader) -> None:
    head = read(
        reader,
        "POST /a/b?c=d HTTP/1.1",
        "Host: Example.com:8080",
        "Content-Length: 12",
        "X-Several: one",
        "x-several:two  ",
        "Expect: 100-continue",
    )
    assert (head.method, head.path, head.target) == ("POST", "/a/b", b"/a/b?c=d")
    assert (head.host, head.authority) == ("example.com", b"example.com:8080")
    assert (head.minor, head.body_length, head.keep_alive) == (1, 12, True)
    assert (head.expects_continue, head.upgrade) == (True, None)
    assert head.fields[2] == (b"x-several", b"X-Several", b"one")
    assert head.values(b"x-several") == [b"one", b"two"]
    assert head.values(b"host") == [b"Example.com:8080"]
    assert head.values(b"absent") == []


def test_repr_shows_no_field(reader: RequestReader) -> None:
    head = read(reader, "GET /a HTTP/1.1", "Host: h", "Authorization: Bearer secret")
    assert repr(head) == "<RequestHead GET /a>"


def test_nothing_is_kept_between_two_heads(reader: RequestReader) -> None:
    first = read(reader, "GET /1 HTTP/1.1", "Host: a", "X: 1", "X: 2")
    refused(reader, "GET /2 HTTP/1.1", "Host: a", "Bad Name: x")
    second = read(reader, "GET /3 HTTP/1.1", "Host: b")
    assert [name for _, name, _ in second.fields] == [b"Host"]
    assert second.repeated == {}
    assert first.values(b"x") == [b"1", b"2"]


@pytest.mark.parametrize(
    ("start", "fields", "keep_alive"),
    [
        ("GET / HTTP/1.1", (), True),
        ("GET / HTTP/1.1", ("Connection: close",), False),
        ("GET / HTTP/1.1", ("Connection: x, Close",), False),
        ("GET / HTTP/1.0", (), False),
        ("GET / HTTP/1.0", ("Connection: Keep-Alive",), True),
        ("GET / HTTP/1.0", ("Connection: keep-alive", "Connection: close"), False),
    ],
)
def test_keep_alive(
    reader: RequestReader, start: str, fields: tuple[str, ...], keep_alive: bool
) -> None:
    assert read(reader, start, "Host: h", *fields).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("start", "fields", "reason"),
    [
        ("GET  / HTTP/1.1", ("Host: h",), Reason.MALFORMED_REQUEST),
        ("GET /  HTTP/1.1", ("Host: h",), Reason.MALFORMED_REQUEST),
        ("GET\t/ HTTP/1.1", ("Host: h",), Reason.MALFORMED_REQUEST),
        ("get / HTTP/1.1", ("Host: h",), Reason.MALFORMED_REQUEST),
        ("GET /", ("Host: h",), Reason.MALFORMED_REQUEST),
        ("GET / HTTP/1.1 ", ("Host: h",), Reason.MALFORMED_REQUEST),
        ("GET / http/1.1", ("Host: h",), Reason.MALFORMED_REQUEST),
        ("GET / HTTP/0.9", ("Host: h",), Reason.UNSUPPORTED_VERSION),
        ("GET / HTTP/1.2", ("Host: h",), Reason.UNSUPPORTED_VERSION),
        ("GET / HTTP/2.0", ("Host: h",), Reason.UNSUPPORTED_VERSION),
        ("PRI * HTTP/2.0", (), Reason.UNSUPPORTED_VERSION),
        ("CONNECT h:443 HTTP/1.1", ("Host: h:443",), Reason.UNSUPPORTED_METHOD),
        ("TRACE / HTTP/1.1", ("Host: h",), Reason.UNSUPPORTED_METHOD),
        ("FETCH / HTTP/1.1", ("Host: h",), Reason.UNSUPPORTED_METHOD),
        ("GET /" + "a" * 1024 + " HTTP/1.1", ("Host: h",), Reason.TARGET_TOO_LONG),
        ("GET /../ HTTP/1.1", ("Host: h",), Reason.MALFORMED_TARGET),
        ("OPTIONS * HTTP/1.1", ("Host: h",), Reason.MALFORMED_TARGET),
        ("GET / HTTP/1.1", (), Reason.MALFORMED_HOST),
        ("GET / HTTP/1.1", ("Host: a", "Host: a"), Reason.MALFORMED_HOST),
        ("GET / HTTP/1.1", ("Host: a b",), Reason.MALFORMED_HOST),
        ("GET / HTTP/1.1", ("Host:",), Reason.MALFORMED_HOST),
        ("GET http://a/ HTTP/1.1", ("Host: b",), Reason.MALFORMED_HOST),
        ("GET http://a@b/ HTTP/1.1", ("Host: b",), Reason.MALFORMED_HOST),
        ("GET / HTTP/1.1", ("Host: h", "Bad Name: x"), Reason.MALFORMED_FIELD),
        ("GET / HTTP/1.1", ("Host: h", "Name : x"), Reason.MALFORMED_FIELD),
        ("GET / HTTP/1.1", ("Host: h", "A: b", " folded"), Reason.MALFORMED_FIELD),
        ("GET / HTTP/1.1", ("Host: h", "A: b\x00c"), Reason.MALFORMED_FIELD),
        ("GET / HTTP/1.1", ("Host: h", "A: b\nC: d"), Reason.MALFORMED_FIELD),
        ("GET / HTTP/1.1", ("Host: h", "A: b\rC: d"), Reason.MALFORMED_FIELD),
        ("GET / HTTP/1.1", ("Host: h", ": x"), Reason.MALFORMED_FIELD),
        ("GET / HTTP/1.1", ("Host: h", *(f"X-{n}: y" for n in range(50))), Reason.HEAD_TOO_LARGE),
        ("GET / HTTP/1.1", ("Host: h", *("a:",) * 9000, "bad name"), Reason.HEAD_TOO_LARGE),
        (
            "POST / HTTP/1.1",
            ("Host: h", "Content-Length: 1", "Content-Length: 1"),
            Reason.AMBIGUOUS_FRAMING,
        ),
        (
            "POST / HTTP/1.1",
            ("Host: h", "Content-Length: 1", "Transfer-Encoding: chunked"),
            Reason.AMBIGUOUS_FRAMING,
        ),
        ("POST / HTTP/1.0", ("Host: h", "Transfer-Encoding: chunked"), Reason.AMBIGUOUS_FRAMING),
        (
            "POST / HTTP/1.1",
            ("Host: h", "Transfer-Encoding: gzip, chunked"),
            Reason.UNSUPPORTED_FRAMING,
        ),
        ("POST / HTTP/1.1", ("Host: h", "Expect: other"), Reason.UNSUPPORTED_EXPECTATION),
    ],
)
def test_refused_heads(
    reader: RequestReader, start: str, fields: tuple[str, ...], reason: Reason
) -> None:
    assert refused(reader, start, *fields) is reason


def test_absolute_form_with_the_same_host(reader: RequestReader) -> None:
    head = read(reader, "GET http://Example.com/a HTTP/1.1", "Host: example.com")
    assert (head.host, head.target) == ("example.com", b"/a")


def test_http_1_0_needs_no_host(reader: RequestReader) -> None:
    head = read(reader, "GET / HTTP/1.0")
    assert (head.host, head.authority, head.minor) == ("", b"", 0)
    assert read(reader, "GET http://a/ HTTP/1.0").host == "a"


def test_expectation_in_http_1_0_is_ignored(reader: RequestReader) -> None:
    head = read(reader, "POST / HTTP/1.0", "Content-Length: 1", "Expect: 100-continue")
    assert head.expects_continue is False


HANDSHAKE = (
    "Host: h",
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def test_what_a_websocket_handshake_asks_for(reader: RequestReader) -> None:
    fields = (
        "Sec-WebSocket-Protocol: chat , Super.Chat",
        "Sec-WebSocket-Protocol: v2",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Sec-WebSocket-Extensions: x",
    )
    upgrade = read(reader, "GET /ws HTTP/1.1", *HANDSHAKE, *fields).upgrade
    assert upgrade is not None
    assert upgrade.key == b"dGhlIHNhbXBsZSBub25jZQ=="
    assert upgrade.subprotocols == (b"chat", b"Super.Chat", b"v2")
    assert upgrade.extensions == b"permessage-deflate, x"
    assert upgrade.presented is None


def test_websocket_handshake(reader: RequestReader) -> None:
    assert read(reader, "GET /ws HTTP/1.1", *HANDSHAKE).upgrade is not None


@pytest.mark.parametrize(
    ("start", "fields"),
    [
        ("POST /ws HTTP/1.1", HANDSHAKE),
        ("GET /ws HTTP/1.0", HANDSHAKE),
        ("GET /ws HTTP/1.1", (*HANDSHAKE, "Content-Length: 5")),
        ("GET /ws HTTP/1.1", (*HANDSHAKE[:3], "Sec-WebSocket-Version: 8", HANDSHAKE[4])),
        ("GET /ws HTTP/1.1", HANDSHAKE[:4]),
        ("GET /ws HTTP/1.1", (*HANDSHAKE[:4], "Sec-WebSocket-Key: short")),
        ("GET /ws HTTP/1.1", (*HANDSHAKE, HANDSHAKE[3])),
        ("GET /ws HTTP/1.1", (*HANDSHAKE, HANDSHAKE[4])),
        ("GET /ws HTTP/1.1", (*HANDSHAKE[:2], "Upgrade: h2c", HANDSHAKE[2])),
        ("GET /ws HTTP/1.1", (*HANDSHAKE, "Upgrade: h2c")),
        # Not the one encoding of 16 bytes.
        ("GET /ws HTTP/1.1", (*HANDSHAKE[:4], "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==")),
        ("GET /ws HTTP/1.1", (*HANDSHAKE, "Sec-WebSocket-Protocol: chat, chat")),
        ("GET /ws HTTP/1.1", (*HANDSHAKE, "Sec-WebSocket-Protocol: chat,, chat2")),
        ("GET /ws HTTP/1.1", (*HANDSHAKE, "Sec-WebSocket-Protocol: a b")),
        ("GET /ws HTTP/1.1", (*HANDSHAKE, "Sec-WebSocket-Extensions: caf\xe9")),
    ],
)
def test_invalid_handshakes(reader: RequestReader, start: str, fields: tuple[str, ...]) -> None:
    assert refused(reader, start, *fields) is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        ("Upgrade: websocket",),
        ("Connection: notupgrade", "Upgrade: websocket"),
        ("Connection: Upgrade",),
    ],
)
def test_other_upgrades_are_ignored(reader: RequestReader, fields: tuple[str, ...]) -> None:
    assert read(reader, "GET / HTTP/1.1", "Host: h", *fields).upgrade is None


def test_the_head_of_what_could_not_be_read() -> None:
    head = unread_head()
    assert (head.method, head.keep_alive, head.body_length) == ("-", False, None)


_TOKEN = st.text("abcXYZ019-_.!~", min_size=1, max_size=8)
_VALUE = st.text(
    st.characters(min_codepoint=0, max_codepoint=255, exclude_characters="\r\n"), max_size=12
)
_FIELD = st.one_of(
    st.builds("{}: {}".format, _TOKEN, _VALUE),
    st.sampled_from(
        [
            "Host: a",
            "Content-Length: 3",
            "Content-Length: 03",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding: \x0bchunked",
            "Connection: close",
            " folded",
            "Expect: 100-continue",
        ]
    ),
)


@given(st.lists(_FIELD, max_size=6))
def test_what_is_accepted_h11_reads_the_same(fields: list[str]) -> None:
    """A second, independent reader agrees about every head we let through."""
    octets = raw("POST /a HTTP/1.1", "Host: example.com", *fields)
    head = RequestReader(target_bytes=1024, most_fields=50).read(octets)
    if isinstance(head, Denial):
        return
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(octets)
    event = peer.next_event()
    assert isinstance(event, h11.Request)
    assert [(lower, value) for lower, _, value in head.fields] == [
        (bytes(name), bytes(value)) for name, value in event.headers
    ]
    if head.body_length == 0:
        assert isinstance(peer.next_event(), h11.EndOfMessage)
