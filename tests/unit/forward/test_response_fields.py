"""What goes to the client is what the rules say of each field, however often such heads came."""

from dataclasses import replace
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from sidecar.forward.in_process import IN_PROCESS
from sidecar.forward.response_fields import ResponseFields
from sidecar.model.cors import Cors
from sidecar.model.route import Access, Route
from sidecar.parse.request import unread_head
from sidecar.parse.response import ResponseReader

NAMES: Final = st.sampled_from(
    (
        "Content-Type", "X-%d", "Set-Cookie", "set-cookie", "Connection", "Keep-Alive", "Server",
        "X-Request-Id", "Access-Control-Allow-Origin", "X-A", "X-B",
    )
)  # fmt: skip
VALUES: Final = st.sampled_from(
    ("", "x", "s=1", "  s =1; Path=/", "=s=1", "t=s=1", "close", "x-a", "X-B, keep-alive", "%b")
)
FIELDS: Final = st.lists(st.tuples(NAMES, VALUES), max_size=7)
PLAIN: Final = Route(name="r", host=None, template="/", methods=frozenset(), access=Access.PUBLIC)
ROUTES: Final = (
    PLAIN,
    replace(PLAIN, cors=Cors(origins=frozenset(("https://a",)))),
    replace(PLAIN, upstream=IN_PROCESS),
)

_READER: Final = ResponseReader()
_FIELDS: Final = ResponseFields("X-Request-Id", "s")


def due(fields: list[tuple[str, str]], route: Route) -> list[str]:
    """The lines of the upstream's own fields, field by field."""
    options = ",".join(value for name, value in fields if name == "Connection").split(",")
    dropped = {
        "connection",
        "keep-alive",
        "x-request-id",
        *(each.strip().lower() for each in options),
    }
    found = []
    for name, value in fields:
        lower, trimmed = name.lower(), value.strip(" ")
        cookie = trimmed.lstrip("= ").partition("=")[0].strip()
        if lower in dropped or (route.cors and lower.startswith("access-control-")):
            continue
        if route.upstream == IN_PROCESS:
            if lower == "server":
                continue
        elif lower == "set-cookie" and cookie == "s":
            continue
        found.append(f"{name}: {trimmed}")
    return found


@given(fields=FIELDS, route=st.sampled_from(ROUTES))
def test_each_field_is_judged_by_itself(fields: list[tuple[str, str]], route: Route) -> None:
    octets = "".join(f"{name}: {value}\r\n" for name, value in fields)
    answer = _READER.read(f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{octets}\r\n".encode())
    fresh = ResponseFields("X-Request-Id", "s")
    for composer in (fresh, fresh, _FIELDS):
        written = composer.compose(
            answer, unread_head(), 2, b"id", keep_alive=True, route=route, fields=b"Ours: 1\r\n"
        )
        start, *lines = written.decode().removesuffix("\r\n\r\n").split("\r\n")
        assert start == "HTTP/1.1 200 OK"
        assert lines == [
            *due(fields, route), "Content-Length: 2", "Ours: 1", "X-Request-Id: id"
        ]  # fmt: skip
