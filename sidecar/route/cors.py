"""Cross-origin requests of browsers: preflights, and fields of answers (Fetch, "CORS protocol").

A preflight asks, before a page of another site sends a request, whether it may. It is an OPTIONS
request without credentials that names the method it asks for, so it is matched against the route of
that method. What a policy says is answered here and never by the application: its own
Access-Control fields are dropped.

CORS opens nothing: it tells browsers which pages may read answers that any other program gets.
Whoever sends the request is decided about as always.
"""

import re
from typing import Final

from sidecar.model.cors import Cors
from sidecar.model.head import RequestHead
from sidecar.model.route import Route

ANY_ORIGIN: Final = "*"
# RFC 9110 section 5.6.2.
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
# Of an answer; those that we write, and those that a policy leaves out.
FIELDS: Final = frozenset(
    (
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-origin",
        b"access-control-allow-private-network",
        b"access-control-expose-headers",
        b"access-control-max-age",
    )
)
_VARY_PREFLIGHT: Final = (
    "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
)


def requested_method(head: RequestHead) -> str:
    """The method that a preflight asks for; ``""`` where `head` is no preflight.

    What carries a credential or a body is none: browsers send neither, and whoever does is to be
    decided about like anybody.
    """
    repeated = head.names.repeated
    method = head.value(b"access-control-request-method")
    if (
        method is None
        or head.method != "OPTIONS"
        or not _METHOD.fullmatch(method)
        or head.value(b"origin") is None
        or head.body_length != 0
        or head.value(b"authorization") is not None
        or head.value(b"cookie") is not None
        or b"origin" in repeated
        or b"access-control-request-method" in repeated
    ):
        return ""
    return method.decode("latin-1")


def is_allowed(cors: Cors, head: RequestHead) -> bool:
    """Whether the page that `head` comes from may read what `cors` speaks of."""
    return bool(_allowed_origin(cors, head))


def preflight_fields(cors: Cors, route: Route, head: RequestHead) -> bytes:
    """The fields of the answer to a preflight whose origin is allowed, each ended by CRLF.

    Methods and names that are not allowed are not refused: the browser compares, and tells the
    page's author what is missing.
    """
    methods = cors.methods or tuple(sorted(route.methods)) or (requested_method(head),)
    lines = _origin_fields(cors, head) if ANY_ORIGIN not in cors.origins else _any_fields()
    lines += f"Access-Control-Allow-Methods: {', '.join(methods)}\r\n"
    if cors.headers:
        lines += f"Access-Control-Allow-Headers: {', '.join(cors.headers)}\r\n"
    if cors.max_age_seconds:
        lines += f"Access-Control-Max-Age: {cors.max_age_seconds}\r\n"
    return (lines + _VARY_PREFLIGHT).encode("latin-1")


def answer_fields(cors: Cors, head: RequestHead) -> bytes:
    """The fields of any other answer of a route with a policy, each ended by CRLF.

    Vary stands there also where the origin is not allowed, or none is named: a cache must not give
    one page what was said to another.
    """
    if ANY_ORIGIN in cors.origins:
        lines = _any_fields()
    else:
        lines = _origin_fields(cors, head) + "Vary: Origin\r\n"
    if cors.exposed and is_allowed(cors, head):
        lines += f"Access-Control-Expose-Headers: {', '.join(cors.exposed)}\r\n"
    return lines.encode("latin-1")


def _any_fields() -> str:
    return "Access-Control-Allow-Origin: *\r\n"


def _origin_fields(cors: Cors, head: RequestHead) -> str:
    origin = _allowed_origin(cors, head)
    if not origin:
        return ""
    # Only what stands in the configuration is ever written: nothing is reflected.
    lines = f"Access-Control-Allow-Origin: {origin}\r\n"
    return lines + "Access-Control-Allow-Credentials: true\r\n" if cors.credentials else lines


def _allowed_origin(cors: Cors, head: RequestHead) -> str:
    if b"origin" in head.names.repeated:
        return ""
    origin = (head.value(b"origin") or b"").decode("latin-1")
    if not origin:
        return ""
    return origin if origin in cors.origins or ANY_ORIGIN in cors.origins else ""
