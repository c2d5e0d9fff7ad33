"""Upgrades and expectations: other protocols are ignored, a WebSocket handshake is strict."""

from tests.conformance.corpora.build import HOST, refused, request, served
from tests.conformance.harness import Case

_KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
_VERSION = b"Sec-WebSocket-Version: 13"
_OFFER = (b"Connection: Upgrade", b"Upgrade: websocket")
_IGNORED = "RFC 9110 7.8: an upgrade may be ignored; neither field reaches the upstream"
_WEBSOCKET = "RFC 6455 4.2.1: an upstream that reads it otherwise would be a tunnel"

CASES: list[Case] = [
    *served(
        {
            "h2c": (
                request(
                    b"Connection: Upgrade, HTTP2-Settings",
                    b"Upgrade: h2c",
                    b"HTTP2-Settings: AAMAAABkAAQAAP__",
                ),
                "common clients offer it on every request; passed on it is a tunnel",
            ),
            "h2c without naming its settings": (
                request(b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
                "RFC 9113 3.1: not even valid",
            ),
            "h2c in other letters": (
                request(b"connection: uPGRADE", b"upgrade: H2C", b"http2_settings: x"),
                _IGNORED,
            ),
            "h2c twice": (
                request(b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: h2c"),
                _IGNORED,
            ),
            "TLS": (request(b"Connection: Upgrade", b"Upgrade: TLS/1.0"), "RFC 2817"),
            "anything": (request(b"Connection: Upgrade", b"Upgrade: irc/6.9, x"), _IGNORED),
            "without Connection": (request(b"Upgrade: websocket", _KEY, _VERSION), _IGNORED),
            "without Upgrade": (request(b"Connection: Upgrade"), _IGNORED),
            "h2c with a body": (
                request(
                    b"Connection: Upgrade",
                    b"Upgrade: h2c",
                    b"Content-Length: 5",
                    start=b"POST / HTTP/1.1",
                    body=b"hello",
                ),
                "llhttp's upgrade forgets the body",
            ),
            "an expectation of HTTP/1.1 fulfilled": (
                request(
                    b"Expect: 100-Continue",
                    b"Content-Length: 5",
                    start=b"POST / HTTP/1.1",
                    body=b"hello",
                ),
                "RFC 9110 10.1.1: the client need not wait",
            ),
            "an expectation without a body": (request(b"Expect: 100-continue"), "RFC 9110 10.1.1"),
        }
    ),
    *refused(
        {
            "with a body": (
                request(*_OFFER, _KEY, _VERSION, b"Content-Length: 5", body=b"hello"),
                _WEBSOCKET,
            ),
            "with chunks": (
                request(*_OFFER, _KEY, _VERSION, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
                _WEBSOCKET,
            ),
            "by POST": (request(*_OFFER, _KEY, _VERSION, start=b"POST / HTTP/1.1"), _WEBSOCKET),
            "without a key": (request(*_OFFER, _VERSION), _WEBSOCKET),
            "with a short key": (
                request(*_OFFER, b"Sec-WebSocket-Key: YQ==", _VERSION),
                _WEBSOCKET,
            ),
            "with two keys": (request(*_OFFER, _KEY, _KEY, _VERSION), _WEBSOCKET),
            "without a version": (request(*_OFFER, _KEY), _WEBSOCKET),
            "with version 8": (
                request(*_OFFER, _KEY, b"Sec-WebSocket-Version: 8"),
                "a 426 without an upgrade was the way into a tunnel",
            ),
            "with two versions": (
                request(*_OFFER, _KEY, _VERSION, b"Sec-WebSocket-Version: 777"),
                _WEBSOCKET,
            ),
            "offered second": (
                request(b"Connection: Upgrade", b"Upgrade: h2c, websocket", _VERSION),
                _WEBSOCKET,
            ),
            "offered in a second field": (
                request(b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket", _VERSION),
                _WEBSOCKET,
            ),
            "in HTTP/1.0": (
                b"\r\n".join(
                    (b"GET / HTTP/1.0", HOST, *_OFFER, b"Connection: keep-alive", _KEY, _VERSION)
                )
                + b"\r\n\r\n",
                _WEBSOCKET,
            ),
        },
        group="WebSocket ",
    ),
    *refused(
        {
            "another expectation": (request(b"Expect: 200-ok"), "RFC 9110 10.1.1"),
            "two in one": (request(b"Expect: 100-continue, x"), "RFC 9110 10.1.1"),
            "nothing expected": (request(b"Expect:"), "RFC 9110 10.1.1"),
        },
        417,
    ),
    *refused(
        {"two expectations": (request(b"Expect: 100-continue", b"Expect: 100-continue"), "single")}
    ),
]
