"""Where a message ends: RFC 9112 sections 6 and 7, and the ways in which readers differed."""

from tests.conformance.corpora.build import CHUNKED, SMUGGLED, post, refused, request, served
from tests.conformance.harness import Case

_LENGTH = "RFC 9112 6.3: one decimal number; readers take a prefix, a sign, a base, the last..."
_BOTH = "RFC 9112 6.1: the classical smuggling pair"
_SIZE = "RFC 9112 7.1: hexadecimal digits only; readers take a prefix, a sign, 0x, _"
_EXTENSION = "RFC 9112 7.1.1: where an extension ends is where readers of chunks differ"
_AFTER = "nothing may stand between a chunk's payload and its CRLF"


def _length(value: bytes, body: bytes = b"") -> bytes:
    return post(b"Content-Length:" + value, body=body)


def _chunks(body: bytes) -> bytes:
    return post(CHUNKED, body=body)


CASES: list[Case] = [
    Case("no body", post(), (200,), "RFC 9112 6.3: no length, no body", (b"",)),
    Case("length 0", _length(b" 0"), (200,), "an empty body", (b"",)),
    Case("a length", _length(b" 5", b"hello"), (200,), "the plain case", (b"hello",)),
    Case("zeros before", _length(b" 0005", b"hello"), (200,), "1*DIGIT; written anew", (b"hello",)),
    Case("010 is ten", _length(b" 010", b"0123456789"), (200,), "not octal", (b"0123456789",)),
    Case("white space around", _length(b"\t 5 \t", b"hello"), (200,), "RFC 9110 5.5", (b"hello",)),
    Case("no space", _length(b"5", b"hello"), (200,), "RFC 9112 5: optional", (b"hello",)),
    Case(
        "a GET with a body",
        request(b"Content-Length: 5", body=b"hello"),
        (200,),
        "some drop the body and keep the length: the body would be the next request",
        (b"hello",),
    ),
    Case(
        "a request as a body",
        post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
        (200,),
        "a body is no request",
        (SMUGGLED,),
    ),
    Case(
        "two requests at once",
        post(b"Content-Length: 5", body=b"hello") + request(),
        (200, 200),
        "pipelining",
        (b"hello", b""),
    ),
    Case(
        "a bad one behind a good one",
        post(b"Content-Length: 5", body=b"hello") + b"Invalid\r\n\r\n",
        (200, 400),
        "the first is answered all the same",
    ),
    Case("CRLF behind a body", _length(b" 5", b"hello") + b"\r\n", (200,), "RFC 9112 2.2"),
    Case(
        "a byte behind a body",
        _length(b" 5", b"hello") + b"X",
        (200, 501),
        "it begins the next: XGET",
    ),
    Case("a NUL behind chunks", _chunks(b"0\r\n\r\n") + b"\x00", (200, 400), "so does that"),
    Case("a body cut short", _length(b" 500", b"hello"), (), "it must not be taken for whole"),
    Case("chunks cut short", _chunks(b"F\r\nhel"), (400,), "what follows is payload, not CRLF"),
    Case("no last chunk", _chunks(b"5\r\nhello\r\n"), (400,), "the canary is no chunk"),
    Case(
        "no end of trailers",
        _chunks(b"0\r\nA: b"),
        (200,),
        "the next request is nothing but trailers, and goes with them",
        closes=True,
    ),
    Case(
        "two bytes for the end",
        _chunks(b"0\r\nX:" + SMUGGLED),
        (200,),
        "Puma skipped any two bytes there; they begin a trailer",
        (b"",),
    ),
    *refused(
        {
            "empty": (_length(b"", b"hello"), _LENGTH),
            "blank": (_length(b"   ", b"hello"), _LENGTH),
            "a plus": (_length(b" +5", b"hello"), _LENGTH),
            "a minus": (_length(b" -5", b"hello"), _LENGTH),
            "minus zero": (_length(b" -0"), _LENGTH),
            "hexadecimal": (_length(b" 0x5", b"hello"), _LENGTH),
            "octal": (_length(b" 0o5", b"hello"), _LENGTH),
            "an underscore": (_length(b" 1_0", b"0123456789"), _LENGTH),
            "a letter": (_length(b" 1Z", b"Z"), _LENGTH),
            "a point": (_length(b" 5.0", b"hello"), _LENGTH),
            "an exponent": (_length(b" 1e1", b"0123456789"), _LENGTH),
            "a space within": (_length(b" 4 2", b"0123"), _LENGTH),
            "a list of equals": (_length(b" 5, 5", b"hello"), "RFC 9112 6.3 allows 400"),
            "a list": (_length(b" 5, 6", b"hello!"), _LENGTH),
            "a comma behind": (_length(b" 5,", b"hello"), _LENGTH),
            "quoted": (_length(b' "5"', b"hello"), _LENGTH),
            "other digits": (_length(" \uff15".encode(), b"hello"), _LENGTH),
            "a NUL behind": (_length(b" 5\x00", b"hello"), _LENGTH),
            "a vertical tab": (_length(b"\x0b5", b"hello"), _LENGTH),
            "a form feed behind": (_length(b" 5\x0c", b"hello"), _LENGTH),
            "19 digits": (_length(b" 9223372036854775808"), "beyond 2^63"),
            "20 digits": (_length(b" 18446744073709551616"), "wraps around 2^64 to 0"),
            "40 digits": (_length(b" " + b"9" * 40), "no integer of a machine"),
            "a million digits less": (_length(b" " + b"0" * 4000 + b"5", b"hello"), "work"),
            "two that differ": (
                post(b"Content-Length: 5", b"Content-Length: 0", body=b"hello"),
                "first or last wins",
            ),
            "two that agree": (
                post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
                "RFC 9112 6.3 allows 400",
            ),
            "empty, then one": (
                post(b"Content-Length:", b"Content-Length: 43", body=SMUGGLED),
                "the empty one counted as 0",
            ),
            "one, then empty": (post(b"Content-Length: 5", b"Content-Length:", body=b"x"), _LENGTH),
            "two of different case": (
                post(b"Content-Length: 5", b"content-length: 6", body=b"hello!"),
                _LENGTH,
            ),
            "a CR for the dash": (post(b"Content\rLength: 5", body=b"hello"), "llhttp once did"),
            "a space before the colon": (
                post(b"Content-Length : 5", body=b"hello"),
                "RFC 9112 5.1",
            ),
            "no colon": (post(b"Content-Length 5", body=b"hello"), "some split at the space"),
            "folded": (post(b"Content-Length:\r\n 5", body=b"hello"), "RFC 9112 5.2: obs-fold"),
            "length and chunks": (
                post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"),
                _BOTH,
            ),
            "chunks and length": (
                post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"),
                _BOTH,
            ),
            "length and identity": (
                post(b"Content-Length: 5", b"Transfer-Encoding: identity", body=b"hello"),
                "RFC 9112 has no identity coding",
            ),
            "length 0 and chunks": (
                post(b"Content-Length: 0", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
                _BOTH,
            ),
        },
        group="Content-Length: ",
    ),
    Case("chunks", _chunks(b"5\r\nhello\r\n0\r\n\r\n"), (200,), "the plain case", (b"hello",)),
    Case("no chunk", _chunks(b"0\r\n\r\n"), (200,), "an empty body", (b"",)),
    Case(
        "sizes in either case",
        _chunks(b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
        (200,),
        "RFC 9112 7.1: HEXDIG",
        (b"0123456789" * 2,),
    ),
    Case(
        "zeros before a size",
        _chunks(b"0005\r\nhello\r\n000\r\n\r\n"),
        (200,),
        "RFC 9112 7.1: recipients must not think of overflow; 15 digits are enough",
        (b"hello",),
    ),
    Case(
        "a chunk as a payload",
        _chunks(b"17\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n\r\n0\r\n\r\n"),
        (400,),
        "the size says 23, the payload has 25",
    ),
    Case(
        "a smuggled request in a chunk",
        _chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        (200,),
        "a payload is no request",
        (SMUGGLED,),
    ),
    *served(
        {
            "a name": (_chunks(b"5;a\r\nhello\r\n0\r\n\r\n"), _EXTENSION),
            "a value": (_chunks(b"5;a=b;c=d\r\nhello\r\n0;e\r\n\r\n"), _EXTENSION),
            "quoted": (_chunks(b'5;a="b; c"\r\nhello\r\n0\r\n\r\n'), _EXTENSION),
            "an unbalanced quote": (_chunks(b'5;a="b\r\nhello\r\n0\r\n\r\n'), "dropped unread"),
            "white space": (_chunks(b"5 ; a = b\r\nhello\r\n0\r\n\r\n"), "RFC 9112 7.1.1: BWS"),
            "nothing": (_chunks(b"5;\r\nhello\r\n0\r\n\r\n"), "dropped unread"),
            "no ASCII": (_chunks(b"5;a=\xff\r\nhello\r\n0\r\n\r\n"), "dropped unread"),
        },
        group="chunk extension: ",
    ),
    *served(
        {
            "one": (_chunks(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"), "RFC 9112 7.1.2: may be dropped"),
            "identity": (
                _chunks(b"0\r\nX-Auth-User: root\r\nx_auth_user: root\r\n\r\n"),
                "some merge trailers into the head",
            ),
            "framing": (
                _chunks(b"0\r\nContent-Length: 50\r\nTransfer-Encoding: x\r\n\r\n"),
                "RFC 9110 6.5.1: never",
            ),
            "host": (_chunks(b"0\r\nHost: evil\r\nX-Request-Id: 1\r\n\r\n"), "RFC 9110 6.5.1"),
            "empty": (_chunks(b"0\r\nX:\r\n\r\n"), "an empty value"),
            "announced": (
                post(CHUNKED, b"Trailer: X-Auth-User", body=b"0\r\nX-Auth-User: root\r\n\r\n"),
                "Trailer is of one hop",
            ),
        },
        group="trailer: ",
    ),
    *refused(
        {
            "no size": (_chunks(b"\r\n\r\n"), "an empty size was taken for 0"),
            "0x": (_chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), _SIZE),
            "a plus": (_chunks(b"+5\r\nhello\r\n0\r\n\r\n"), _SIZE),
            "a minus": (_chunks(b"-5\r\nhello\r\n0\r\n\r\n"), _SIZE),
            "minus 0x0": (_chunks(b"-0x0\r\n\r\n"), _SIZE),
            "an underscore": (_chunks(b"0_2e\r\n\r\n" + SMUGGLED), _SIZE),
            "a letter behind": (_chunks(b"5g\r\nhello\r\n0\r\n\r\n"), _SIZE),
            "a word behind": (_chunks(b"1these\r\nZ\r\n0\r\n\r\n"), _SIZE),
            "no hexadecimal": (_chunks(b"Z\r\nZZ\r\nZZZ\r\n\r\n"), _SIZE),
            "other digits": (_chunks("\uff15\r\nhello\r\n0\r\n\r\n".encode()), _SIZE),
            "a space before": (_chunks(b" 5\r\nhello\r\n0\r\n\r\n"), _SIZE),
            "many spaces before": (_chunks(b"           0\r\n\r\n"), _SIZE),
            "a space behind": (_chunks(b"5 \r\nhello\r\n0\r\n\r\n"), "only before a semicolon"),
            "a tab behind": (_chunks(b"5\t\r\nhello\r\n0\r\n\r\n"), "only before a semicolon"),
            "a vertical tab": (_chunks(b"5\x0b\r\nhello\r\n0\r\n\r\n"), _SIZE),
            "a NUL": (_chunks(b"5\x00\r\nhello\r\n0\r\n\r\n"), _SIZE),
            "16 digits": (_chunks(b"0000000000000005\r\nhello\r\n0\r\n\r\n"), "2^64 wraps around"),
            "17 digits": (_chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), "2^64 wraps around"),
            "2^63": (_chunks(b"8000000000000000\r\nhello"), "negative when signed"),
            "-1": (_chunks(b"ffffffffffffffff\r\nhello"), "-1 when signed"),
            "an empty line before": (_chunks(b"\r\n5\r\nhello\r\n0\r\n\r\n"), "some skip it"),
            "an empty line between": (
                _chunks(b"5\r\nhello\r\n\r\n0\r\n\r\n"),
                "one proxy un-chunked such a body without saying so",
            ),
            "LF behind the size": (_chunks(b"5\nhello\r\n0\r\n\r\n"), _SIZE),
            "CR behind the size": (_chunks(b"5\rhello\r\n0\r\n\r\n"), _SIZE),
            "CR and any byte": (_chunks(b"5\rXhello\r\n0\r\n\r\n"), _SIZE),
            "LF behind the payload": (_chunks(b"5\r\nhello\n0\r\n\r\n"), _AFTER),
            "CR behind the payload": (_chunks(b"5\r\nhello\r0\r\n\r\n"), _AFTER),
            "any two bytes behind": (_chunks(b"5\r\nhelloXX0\r\n\r\n"), _AFTER),
            "nothing behind": (_chunks(b"5\r\nhello0\r\n\r\n"), _AFTER),
            "longer than its size": (_chunks(b"5\r\nhello!\r\n0\r\n\r\n"), _AFTER),
            "LF behind the last": (_chunks(b"0\n\r\n" + SMUGGLED), _SIZE),
            "CR and any byte in the end": (_chunks(b"0\r\n\rX" + SMUGGLED), "ends at \\r\\n\\rX"),
            "LF for the end": (_chunks(b"0\r\n\n" + SMUGGLED), "a bare LF"),
            "an unknown word": (_chunks(b"INVALID!!!\r\n" + SMUGGLED), "no resynchronising"),
        },
        group="chunk: ",
    ),
    *refused(
        {
            "LF": (_chunks(b"5;a\nhello\r\n0\r\n\r\n"), _EXTENSION),
            "LF, then CRLF": (_chunks(b"5;\n\r\nhello\r\n0\r\n\r\n"), _EXTENSION),
            "CR within": (_chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), _EXTENSION),
            "CR before the semicolon": (_chunks(b"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n"), _EXTENSION),
            "CR CR": (_chunks(b"5;a=b\r\rhello\r\n0\r\n\r\n"), "CR and any byte ended the line"),
            "NUL": (_chunks(b"5;a\x00\r\nhello\r\n0\r\n\r\n"), _EXTENSION),
            "DEL": (_chunks(b"5;a\x7f\r\nhello\r\n0\r\n\r\n"), _EXTENSION),
            "no semicolon": (_chunks(b"5 a\r\nhello\r\n0\r\n\r\n"), _EXTENSION),
            "a comma": (_chunks(b"5,a\r\nhello\r\n0\r\n\r\n"), _EXTENSION),
        },
        group="chunk extension: ",
    ),
    *refused(
        {
            "no colon": (_chunks(b"0\r\nX\r\n\r\n"), "RFC 9112 5"),
            "no name": (_chunks(b"0\r\n: y\r\n\r\n"), "RFC 9112 5"),
            "a space before the colon": (_chunks(b"0\r\nX : y\r\n\r\n"), "RFC 9112 5.1"),
            "folded": (_chunks(b"0\r\nX: y\r\n z\r\n\r\n"), "RFC 9112 5.2"),
            "a bare LF": (_chunks(b"0\r\nX: y\nZ: a\r\n\r\n"), "two trailers for some"),
            "a bare CR": (_chunks(b"0\r\nX: y\rZ: a\r\n\r\n"), "two trailers for some"),
            "NUL": (_chunks(b"0\r\nX: \x00\r\n\r\n"), "RFC 9110 5.5"),
            "a request": (_chunks(b"0\r\nGET / HTTP/1.1\r\n\r\n"), "RFC 9112 5"),
        },
        group="trailer: ",
    ),
    *refused(
        {
            "an endless extension": (_chunks(b"5;" + b"a" * 5000), "bounded work"),
            "endless trailers": (_chunks(b"0\r\n" + b"A: b\r\n" * 3000), "bounded work"),
            "one endless trailer": (_chunks(b"0\r\nA: " + b"b" * 9000), "bounded work"),
        },
        431,
    ),
]
