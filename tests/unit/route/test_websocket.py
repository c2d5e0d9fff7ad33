"""Which pages may open a WebSocket."""

import pytest

from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.model.route import Access, Route
from sidecar.route.websocket import pointer_members, refuse_handshake, websocket_policy
from sidecar.settings.schema import Reauthentication, WebSocketRule
from tests.cases.world import head_of


def route(*origins: str) -> Route:
    policy = websocket_policy(WebSocketRule(origins=origins))
    return Route(
        name="r", host=None, template="/ws", methods=frozenset(), access=Access.AUTHENTICATED,
        websocket=policy,
    )  # fmt: skip


def head(*origins: str, authority: bytes = b"app.example") -> RequestHead:
    made = head_of("GET", "/ws", fields=tuple((b"Origin", each.encode()) for each in origins))
    made.authority = authority
    return made


@pytest.mark.parametrize(
    ("scheme", "authority", "origin", "is_same"),
    [
        ("https", b"app.example", "https://app.example", True),
        ("https", b"app.example:443", "https://app.example", True),
        ("https", b"app.example", "http://app.example", False),
        ("http", b"app.example", "http://app.example", True),
        ("http", b"app.example:80", "http://app.example", True),
        ("http", b"app.example", "https://app.example", True),
        ("", b"app.example", "https://app.example", True),
        ("", b"app.example", "http://app.example", False),
        ("https", b"app.example:8443", "https://app.example:8443", True),
        ("https", b"app.example:8443", "https://app.example", False),
        ("https", b"app.example", "https://app.example.evil", False),
        ("https", b"app.example", "https://evil/app.example", False),
        ("https", b"app.example", "null", False),
        ("https", b"", "https://", False),
        ("ftp", b"app.example", "ftp://app.example", False),
    ],
)
def test_the_host_s_own_pages(scheme: str, authority: bytes, origin: str, is_same: bool) -> None:
    refused = refuse_handshake(head(origin, authority=authority), route(), scheme, ambient=True)
    assert (refused is None) is is_same
    if refused is not None:
        assert refused.reason is Reason.ORIGIN_NOT_ALLOWED


@pytest.mark.parametrize(
    ("listed", "origins", "ambient", "shown"),
    [
        ((), (), False, True),
        ((), (), True, False),
        ((), ("https://other",), False, True),
        (("https://page",), ("https://page",), True, True),
        (("https://page",), ("https://page",), False, True),
        (("https://page",), ("https://other",), True, False),
        (("https://page",), ("https://other",), False, False),
        (("*",), ("https://other",), True, False),
        (("*",), ("https://other",), False, True),
        (("null",), ("null",), True, True),
        (("https://page",), ("https://page", "https://page"), True, False),
    ],
)
def test_pages_that_are_listed(
    listed: tuple[str, ...], origins: tuple[str, ...], ambient: bool, shown: bool
) -> None:
    refused = refuse_handshake(head(*origins), route(*listed), "https", ambient=ambient)
    assert (refused is None) is shown


def test_a_route_without_websockets() -> None:
    plain = Route(name="r", host=None, template="/", methods=frozenset(), access=Access.PUBLIC)
    refused = refuse_handshake(head(), plain, "https", ambient=False)
    assert refused is not None
    assert (refused.reason, refused.status) == (Reason.UNSUPPORTED_UPGRADE, 501)


def test_the_policy_of_a_rule() -> None:
    rule = WebSocketRule(
        reauthenticate=Reauthentication(type="t", type_pointer="/a~1b/~0", announce_seconds=3.0)
    )
    policy = websocket_policy(rule)
    assert policy.reauthentication is not None
    assert policy.reauthentication.kind_at == ("a/b", "~")
    assert policy.reauthentication.token_at == ("token",)
    assert pointer_members("/~01") == ("~1",)
