"""Fields: syntax, and every spelling of those that only we may write (PROMISES 3)."""

from itertools import product

from tests.conformance.corpora.build import CHUNKED, post, refused, request, served
from tests.conformance.harness import TOKEN, Case

_COOKIE = b"Cookie: sidecar_session=" + TOKEN.encode()
_PRIVATE = b"GET /private/a HTTP/1.1"
_NAME = "RFC 9110 5.1: a name is a token; who strips or splits it differently sees another field"
_VALUE = "RFC 9110 5.5: CR, LF and NUL have no place in a value"

CASES: list[Case] = [
    *refused(
        {
            "a space before the colon": (request(b"X : y"), "RFC 9112 5.1: MUST be 400"),
            "a tab before the colon": (request(b"X\t: y"), "RFC 9112 5.1"),
            "a space within": (request(b"X Y: z"), _NAME),
            "no name": (request(b": y"), "some end the head there"),
            "nothing but a colon": (request(b":"), "some end the head there"),
            "no colon": (request(b"X"), _NAME),
            "a NUL": (request(b"X\x00: y"), _NAME),
            "a quote": (request(b'"X": y'), _NAME),
            "a slash": (request(b"X/Y: z"), _NAME),
            "brackets": (request(b"X[]: z"), "PHP makes arrays of them"),
            "an at": (request(b"X@: z"), _NAME),
            "UTF-8": (request("Ä: z".encode()), _NAME),
            "a soft hyphen": (request(b"X\xadY: z"), _NAME),
            "0x85 behind": (request(b"X\x85: z"), "stripped as white space by str.strip"),
            "0xA0 behind": (request(b"X\xa0: z"), "stripped as white space by str.strip"),
            "a CR": (request(b"X\rY: z"), _NAME),
            "a LF": (request(b"X\nY: z"), _NAME),
            "a DEL": (request(b"X\x7f: z"), _NAME),
            "a form feed": (request(b"\x0cX: z"), _NAME),
        },
        group="name: ",
    ),
    *refused(
        {
            "a NUL": (request(b"X: a\x00b"), "C strings end there"),
            "a NUL behind": (request(b"X: a\x00"), "one strips it"),
            "a CR": (request(b"X: a\rX-Auth-User: root"), _VALUE),
            "a CR behind": (request(b"X: a\r"), _VALUE),
            "a LF": (request(b"X: a\nX-Auth-User: root"), _VALUE),
            "an empty line of LF": (request(b"X:\n\nGET /smuggled HTTP/1.1"), _VALUE),
            "CR LF CR X": (request(b"X: a\r\n\rZ"), "ended the head in one server"),
            "a vertical tab": (request(b"X: a\x0bb"), "RFC 9110 5.5: not a field character"),
            "a form feed": (request(b"X: a\x0cb"), "RFC 9110 5.5"),
            "a bell": (request(b"X: a\x07b"), "RFC 9110 5.5"),
            "a DEL": (request(b"X: a\x7fb"), "RFC 9110 5.5"),
            "obsolete folding": (request(b"X: a\r\n b"), "RFC 9112 5.2: 400"),
            "folding with a tab": (request(b"X: a\r\n\tb"), "RFC 9112 5.2: 400"),
            "folding of nothing": (request(b"X:\r\n b"), "RFC 9112 5.2: 400"),
            "folding of a line of spaces": (request(b"X: a\r\n  "), "RFC 9112 5.2: 400"),
        },
        group="value: ",
    ),
    *refused(
        {
            "a space before the first field": (
                b"GET / HTTP/1.1\r\n Host: a\r\nX: y\r\n\r\n",
                "RFC 9112 2.2: part of the start line, or of nothing",
            ),
            "lines that end in CR": (
                b"GET / HTTP/1.1\r\nHost: a\rX: y\r\r\n\r\n",
                "a bare CR is no line end",
            ),
            "lines that end in LF": (
                b"GET / HTTP/1.1\r\nHost: a\nX: y\n\r\n\r\n",
                "a bare LF is no line end here",
            ),
            "lines that end in LF CR": (b"GET / HTTP/1.1\r\nHost: a\n\rX: y\r\n\r\n", _VALUE),
        }
    ),
    *served(
        {
            "an empty value": (request(b"X:"), "RFC 9110 5.5"),
            "blanks for a value": (request(b"X: \t "), "an empty value"),
            "all characters of a token": (request(b"!#$%&'*+-.^_`|~09AZaz: y"), "RFC 9110 5.6.2"),
            "ISO 8859-1 in a value": (request(b"X: \xe4\xff\x80"), "RFC 9110 5.5: obs-text"),
            "the same twice": (request(b"X: a", b"x: b"), "RFC 9110 5.3"),
        }
    ),
    *refused(
        {
            "101 fields": (request(*(b"X-%d: y" % n for n in range(101))), "bounded"),
            "a long value": (request(b"X: " + b"y" * 40_000), "bounded"),
            "many short fields": (request(*[b"a:"] * 8_000), "bounded work for few octets"),
            "an endless start": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000, "bounded"),
        },
        431,
    ),
]

# -- The smuggling matrix: what only we may write -------------------------------------------------

_OURS = (
    b"X-Auth-User", b"X-Auth-Tenant", b"X-Auth-Roles", b"X-Request-Id", b"X-Forwarded-For",
    b"X-Forwarded-Host", b"X-Forwarded-Proto", b"Forwarded", b"X-Real-IP", b"Remote-User",
)  # fmt: skip


def _spellings(name: bytes) -> dict[str, bytes]:
    """A field line in every spelling that some server folds into `name`; all are tokens."""
    return {
        "as it is": name,
        "lower case": name.lower(),
        "upper case": name.upper(),
        "mixed case": name.swapcase(),
        "underscores": name.replace(b"-", b"_"),
        "the last an underscore": b"_".join(name.rsplit(b"-", 1)),
        "the first an underscore": name.replace(b"-", b"_", 1),
        "dots": name.replace(b"-", b"."),
        "tildes": name.replace(b"-", b"~"),
        "plus signs": name.replace(b"-", b"+"),
        "as CGI has it, less HTTP_": name.replace(b"-", b"_").upper(),
    }


def _broken(name: bytes) -> dict[str, bytes]:
    """Spellings that are no tokens: 400."""
    return {
        "spaces": name.replace(b"-", b" ") if b"-" in name else b"For warded",
        "a space behind": name + b" ",
        "a tab behind": name + b"\t",
        "a tab before": b"\t" + name,
        "a NUL behind": name + b"\x00",
        "a non-breaking hyphen": name.replace(b"-", b"\xe2\x80\x91") + b"\xe2",
        "a no-break space behind": name + b"\xa0",
    }


def _line(name: bytes) -> bytes:
    return name + b": 10.9.8.7"


_ALICE = "our own value, once, whatever the client wrote"
for _name, _private in product(_OURS, (False, True)):
    _where = f"{_name.decode()} ({'signed in' if _private else 'anonymous'}): "
    _start, _who = (_PRIVATE, (_COOKIE,)) if _private else (b"GET / HTTP/1.1", ())
    CASES += served(
        {
            spelling: (request(_line(variant), *_who, start=_start), _ALICE)
            for spelling, variant in _spellings(_name).items()
        }
        | {
            "twice": (request(_line(_name), *_who, _line(_name.lower()), start=_start), _ALICE),
            "named by Connection": (
                request(b"Connection: " + _name, _line(_name), *_who, start=_start),
                "RFC 9110 7.6.1: what Connection names is removed; ours must not be",
            ),
            "a variant named by Connection": (
                request(b"Connection: " + _name.replace(b"-", b"_"), *_who, start=_start),
                "the same for a variant",
            ),
            "an empty value": (request(_name + b":", *_who, start=_start), _ALICE),
        },
        group=_where,
    )
    CASES += refused(
        {
            spelling: (request(_line(variant), *_who, start=_start), _NAME)
            for spelling, variant in _broken(_name).items()
        },
        group=_where,
    )
CASES += served(
    {
        "in trailers": (
            post(CHUNKED, body=b"0\r\n" + b"".join(_line(n) + b"\r\n" for n in _OURS) + b"\r\n"),
            "trailers are dropped",
        ),
        "Connection names what is everybody's": (
            request(
                b"Connection: close-not, Host, Cookie, Content-Type, Origin, X-Request-Id,"
                b" X-Auth-User, X-Forwarded-For, Transfer-Encoding, Content-Length",
                _COOKIE,
                start=_PRIVATE,
            ),
            "none of them may be taken away by the client",
        ),
        "method overrides": (
            request(
                b"X-HTTP-Method-Override: DELETE",
                b"X-HTTP-Method: PUT",
                b"X-Method-Override: PUT",
                b"X-Original-URL: /admin",
                b"X-Rewrite-URL: /admin",
                b"X_Original_URL: /admin",
            ),
            "frameworks would do another thing than what was authorized",
        ),
        "inner identity": (
            request(b"Sidecar-Subject: root", b"sidecar_roles: admin", b"Sidecar.Tenant: x"),
            "the fields towards our own endpoints",
        ),
    }
)
CASES += [
    Case(
        f"credentials: {name}",
        request(*lines, start=_PRIVATE),
        (status,),
        why,
        closes=False,
    )
    for name, lines, status, why in (
        ("none", (), 401, "the default is to refuse"),
        ("the cookie twice", (_COOKIE, _COOKIE), 400, "PROMISES 4"),
        ("two in one field", (_COOKIE + b"; " + _COOKIE[8:],), 400, "PROMISES 4"),
        (
            "cookie and bearer",
            (_COOKIE, b"Authorization: Bearer " + TOKEN.encode()),
            400,
            "PROMISES 4",
        ),
        (
            "bearer twice",
            (b"Authorization: Bearer x", b"authorization: Bearer " + TOKEN.encode()),
            400,
            "PROMISES 4",
        ),
        ("another scheme beside", (_COOKIE, b"Authorization: Basic eDp5"), 400, "PROMISES 4"),
        ("a variant of Cookie", (b"Cookie_: sidecar_session=" + TOKEN.encode(),), 401, _NAME),
    )
]
