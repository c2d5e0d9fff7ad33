"""Start lines: RFC 9112 section 3, with single spaces and nothing lenient."""

from tests.conformance.corpora.build import SMUGGLED, refused, request, served, start
from tests.conformance.harness import Case

_SYNTAX = "RFC 9112 3: lenient readers skip or split at white space differently"
_VERSION = "RFC 9112 2.3: versions have one digit on each side; some read the longest valid prefix"

CASES: list[Case] = [
    *served(
        {
            "HTTP/1.1": (start(b"GET / HTTP/1.1"), "the plain case, so that the oracles are known"),
            "an empty line before": (
                b"\r\n" + start(b"GET / HTTP/1.1"),
                "RFC 9112 2.2: at least one is ignored",
            ),
            "REPORT": (start(b"REPORT / HTTP/1.1"), "a registered method that llhttp knows"),
            "M-SEARCH": (start(b"M-SEARCH / HTTP/1.1"), "a hyphen in a method"),
            "OPTIONS with a path": (start(b"OPTIONS /a HTTP/1.1"), "origin-form"),
        }
    ),
    Case(
        "HTTP/1.0 without Host",
        b"GET / HTTP/1.0\r\nX-Nonce: case\r\n\r\n",
        (200,),
        "RFC 9112 3.2 asks Host of HTTP/1.1 only; the upstream is told an empty one",
        closes=True,
    ),
    *refused(
        {
            "two spaces after the method": (start(b"GET  / HTTP/1.1"), _SYNTAX),
            "two spaces before the version": (start(b"GET /  HTTP/1.1"), _SYNTAX),
            "a tab after the method": (start(b"GET\t/ HTTP/1.1"), _SYNTAX),
            "a tab before the version": (start(b"GET /\tHTTP/1.1"), _SYNTAX),
            "a vertical tab": (start(b"GET\x0b/ HTTP/1.1"), _SYNTAX),
            "a form feed": (start(b"GET / \x0cHTTP/1.1"), _SYNTAX),
            "a no-break space": (start(b"GET\xa0/ HTTP/1.1"), _SYNTAX),
            "a bare CR": (start(b"GET\r/ HTTP/1.1"), _SYNTAX),
            "a bare LF": (start(b"GET /\nHTTP/1.1"), "aiohttp once took LF for a space"),
            "a space before the method": (start(b" GET / HTTP/1.1"), _SYNTAX),
            "a space at the end": (start(b"GET / HTTP/1.1 "), _SYNTAX),
            "a tab at the end": (start(b"GET / HTTP/1.1\t"), _SYNTAX),
            "a CR at the end": (start(b"GET / HTTP/1.1\r"), _SYNTAX),
            "two words more": (start(b"GET / HTTP/1.1 HTTP/1.1"), "which version counts?"),
            "no target": (start(b"GET HTTP/1.1"), "RFC 9112 3: a target is required"),
            "no method": (start(b"/ HTTP/1.1"), "RFC 9112 3: a method is required"),
            "no version": (start(b"GET /"), "HTTP/0.9 would answer without a head"),
            "a space in the target": (start(b"GET /a b HTTP/1.1"), "RFC 9112 3.2: SHOULD be 400"),
            "a quote in the method": (start(b'G="x" / HTTP/1.1'), "aiohttp read the prefix G"),
            "a NUL for a method": (start(b"\x00 / HTTP/1.1"), "libsoup validated nothing"),
            "lower case": (start(b"get / HTTP/1.1"), "RFC 9110 9.1: methods know case; ACLs not"),
            "a name that is no method": (start(b"GE/T / HTTP/1.1"), "not a token"),
            "a word instead": (b"hello\r\n\r\n", "not HTTP"),
            "a status line": (b"HTTP/1.1 200 OK\r\n\r\n", "a response is no request"),
            "two empty lines before": (
                b"\r\n\r\n" + start(b"GET / HTTP/1.1"),
                "we ignore one; an empty head must not be a request",
            ),
            "a line feed before": (b"\n" + start(b"GET / HTTP/1.1"), "a bare LF is no empty line"),
            "a carriage return before": (b"\r" + start(b"GET / HTTP/1.1"), "a bare CR neither"),
            "a byte order mark": (b"\xef\xbb\xbf" + start(b"GET / HTTP/1.1"), "not a token"),
            "only line feeds": (
                b"GET / HTTP/1.1\nHost: a\n\n" + SMUGGLED,
                "RFC 9112 2.2 allows a reader to take LF for CRLF; we do not",
            ),
            "lower-case http": (start(b"GET / http/1.1"), "RFC 9112 2.3: case-sensitive"),
            "RTSP": (start(b"GET / RTSP/1.1"), "llhttp takes it"),
            "ICE": (start(b"GET / ICE/1.1"), "llhttp takes it for SOURCE"),
            "HTTPS": (start(b"GET / HTTPS/1.1"), _VERSION),
            "HTTP/1": (start(b"GET / HTTP/1"), _VERSION),
            "HTTP/1.": (start(b"GET / HTTP/1."), _VERSION),
            "HTTP/.1": (start(b"GET / HTTP/.1"), _VERSION),
            "HTTP/1.1.1": (start(b"GET / HTTP/1.1.1"), _VERSION),
            "HTTP/01.1": (start(b"GET / HTTP/01.1"), _VERSION),
            "HTTP/1.01": (start(b"GET / HTTP/1.01"), _VERSION),
            "HTTP/1.10": (start(b"GET / HTTP/1.10"), _VERSION),
            "HTTP/1.32": (start(b"GET / HTTP/1.32"), _VERSION),
            "HTTP/11.1": (start(b"GET / HTTP/11.1"), _VERSION),
            "HTTP/1,1": (start(b"GET / HTTP/1,1"), _VERSION),
            "HTTP 1.1": (start(b"GET / HTTP 1.1"), _VERSION),
            "HTTP/-1.1": (start(b"GET / HTTP/-1.1"), _VERSION),
            "HTTP/+1.1": (start(b"GET / HTTP/+1.1"), _VERSION),
            "HTTP/1.1 in other digits": (start("GET / HTTP/\uff11.\uff11".encode()), _VERSION),
            "a version that wraps around 32 bits": (start(b"GET / HTTP/4294967297.257"), _VERSION),
            "PRI with a path": (start(b"PRI / HTTP/1.1"), "RFC 9113 11.6 reserves it"),
            "CRs within the version": (start(b"GET / HTTP/\r\r1.1"), _VERSION),
        }
    ),
    *refused(
        {
            "HTTP/0.9": (start(b"GET / HTTP/0.9"), "an answer without a head"),
            "HTTP/1.2": (start(b"GET / HTTP/1.2"), "not spoken here; llhttp refuses it too"),
            "HTTP/2.0": (start(b"GET / HTTP/2.0"), "llhttp takes it"),
            "HTTP/3.0": (start(b"GET / HTTP/3.0"), "not spoken here"),
            "HTTP/9.9": (start(b"GET / HTTP/9.9"), "not spoken here"),
            "the preface of HTTP/2": (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
                "RFC 9113 3.4; its frames must not be read as requests",
            ),
        },
        505,
    ),
    *refused(
        {
            "CONNECT": (start(b"CONNECT app.example:443 HTTP/1.1"), "RFC 9110 9.3.6: a tunnel"),
            "CONNECT with a path": (start(b"CONNECT / HTTP/1.1"), "RFC 9110 9.3.6"),
            "CONNECT with a body": (
                request(
                    b"Content-Length: 5",
                    start=b"CONNECT app.example:443 HTTP/1.1",
                    body=b"hello",
                ),
                "what follows would be the tunnel's",
            ),
            "TRACE": (start(b"TRACE / HTTP/1.1"), "RFC 9110 9.3.8: echoes credentials"),
            "a method nobody registered": (start(b"FETCH / HTTP/1.1"), "llhttp does not know it"),
            "TRACK": (start(b"TRACK / HTTP/1.1"), "TRACE by another name (IIS)"),
            "DEBUG": (start(b"DEBUG / HTTP/1.1"), "IIS"),
        },
        501,
    ),
    *refused(
        {
            "a long target": (start(b"GET /" + b"a" * 9000 + b" HTTP/1.1"), "RFC 9110 15.5.15"),
            "a long query": (start(b"GET /?" + b"a" * 9000 + b" HTTP/1.1"), "RFC 9110 15.5.15"),
        },
        414,
    ),
]
