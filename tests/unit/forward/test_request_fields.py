"""What goes upstream is what the rules say of each field, however often such heads came before."""

import re
import tracemalloc
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.authorize.permit import SEAL, Permit
from sidecar.forward import request_fields
from sidecar.forward.request_fields import RequestFields
from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.model.route import Access, Route
from sidecar.parse.request import RequestReader
from sidecar.settings.schema import Forwarded, Identity

NAMES: Final = st.sampled_from(
    (
        "Accept", "accept", "X-%d", "Authorization", "Cookie", "cookie", "Connection", "Keep-Alive",
        "TE", "X-Auth-User", "X_Auth_User", "X-Real-IP", "X-Client-Ip", "X-Forwarded-For",
        "X_Forwarded_Port", "Sidecar-Tenant", "Traceparent", "Origin", "Content-Type", "X-A", "X_A",
    )
)  # fmt: skip
VALUES: Final = st.sampled_from(
    (
        "", "x", "s=1", "s=1; t=2", "a=b; s=1", "as=1", "close", "keep-alive", "x-a, origin",
        "keep-alive, X_A", "%b", "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "192.0.2.7",
    )
)  # fmt: skip
FIELDS: Final = st.lists(st.tuples(NAMES, VALUES), max_size=7)
HOP_BY_HOP: Final = {"connection", "keep-alive", "te", "host"}
OURS: Final = {"x-auth-user", "x-real-ip", "x-forwarded-for", "traceparent"}

_READER: Final = RequestReader(target_bytes=100, most_fields=50)
_FIELDS: Final = RequestFields(Identity(), Forwarded(), "s")
_PEERS: Final = {
    trusted: Peer("192.0.2.1", "http", is_trusted=trusted) for trusted in (False, True)
}


def permit(*, forward_credential: bool) -> Permit:
    route = Route(
        name="r", host=None, template="/", methods=frozenset(), access=Access.PUBLIC,
        forward_credential=forward_credential,
    )  # fmt: skip
    return Permit(SEAL, route, None, Reason.PUBLIC, None, "", {}, 0.0)


_PERMITS: Final = {keeps: permit(forward_credential=keeps) for keeps in (False, True)}


def read(fields: list[tuple[str, str]]) -> RequestHead:
    octets = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = _READER.read(f"GET / HTTP/1.1\r\nHost: h\r\n{octets}\r\n".encode())
    assert isinstance(head, RequestHead), head
    return head


def written(composer: RequestFields, head: RequestHead, *, keeps: bool, trusted: bool) -> list[str]:
    """The lines of the client's own fields."""
    octets = composer.compose(
        head, _PERMITS[keeps], _PEERS[trusted], identity=b"X-Auth-User: us\r\n", request_id=b"id",
        trace=b"ours", host=None,
    )  # fmt: skip
    begin, identity, rest = octets.decode().partition("X-Auth-User: us\r\n")
    assert identity
    assert "X-Auth-User" not in rest
    start, host, *fields = begin.split("\r\n")[:-1]
    assert (start, host) == ("GET / HTTP/1.1", "Host: h")
    assert rest.endswith("\r\nX-Request-Id: id\r\n\r\n")
    assert rest.count("Traceparent: ") == 1
    return fields


def due(fields: list[tuple[str, str]], *, keeps: bool, trusted: bool) -> list[str]:
    """The same, field by field."""
    options = ",".join(value for name, value in fields if name == "Connection").split(",")
    named = {option.strip().lower().replace("_", "-") for option in options} - {"origin"}
    found = []
    for name, value in fields:
        folded = name.lower().replace("_", "-")
        rest = value
        if folded in HOP_BY_HOP | OURS | named or folded.startswith("sidecar-"):
            continue
        if not trusted and folded in {"x-client-ip", "x-forwarded-port"}:
            continue
        if not keeps and folded == "authorization":
            continue
        if not keeps and folded == "cookie":
            rest = re.sub(r"(^|;)[ \t]*s=[^;]*", "", value).lstrip("; ")
            if not rest:
                continue
        found.append(f"{name}: {rest}")
    return found


@given(fields=FIELDS, keeps=st.booleans(), trusted=st.booleans())
def test_each_field_is_judged_by_itself(
    fields: list[tuple[str, str]], *, keeps: bool, trusted: bool
) -> None:
    head, fresh = read(fields), RequestFields(Identity(), Forwarded(), "s")
    expected = due(fields, keeps=keeps, trusted=trusted)
    for composer in (fresh, fresh, _FIELDS):
        assert written(composer, head, keeps=keeps, trusted=trusted) == expected


def test_heads_that_nobody_else_has_are_not_remembered() -> None:
    fields = RequestFields(Identity(), Forwarded(), "")
    head = RequestHead()
    head.set_fields(((b"Host", b"h"), (b"A", b"b")))
    head.method, head.target, head.authority, head.minor = "GET", b"/", b"h", 1
    head.body_length, head.expects_continue = 0, False
    assert written(fields, head, keeps=False, trusted=False) == ["A: b"]
    named = ", ".join(f"n{number}" for number in range(200))
    written(fields, read([("Connection", named)]), keeps=False, trusted=False)
    assert [connection for _, connection, *_ in fields._lines] == [
        b""
    ]  # what it keeps cannot be asked


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_fields, "MOST_BYTES", 10_000)
    fields = RequestFields(Identity(), Forwarded(), "")
    for number in range(10):
        head = read([("Connection", f"x{number}"), (f"X{number}", "a"), ("Y", "b")])
        assert written(fields, head, keeps=False, trusted=False) == ["Y: b"]
        assert len(fields._lines) <= 4  # what it keeps cannot be asked


def test_names_at_random_take_little_memory() -> None:
    """As many and as long as are remembered: kinds are not counted, but what they take."""
    reader = RequestReader(target_bytes=100, most_fields=100)
    fields = RequestFields(Identity(), Forwarded(), "s")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(600):
            names = [f"{number:05}-{place:02}-{'x' * 20}" for place in range(58)]
            raw = "".join(f"{name}: v\r\n" for name in names)
            head = reader.read(f"GET / HTTP/1.1\r\nHost: h\r\n{raw}\r\n".encode())
            assert isinstance(head, RequestHead)
            assert len(written(fields, head, keeps=False, trusted=False)) == len(names)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 3_000_000
