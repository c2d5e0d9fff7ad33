"""Settings of WebSockets that could not work are refused, with their place."""

from typing import Any

import pytest

from sidecar.settings.load import parse
from sidecar.settings.problem import SettingsError

BASE = """
upstreams: {app: {url: "http://127.0.0.1:9000"}}
stores: {postgres: {dsn: "postgresql://localhost/x"}}
credentials: {token_key: "0123456789abcdef0123456789abcdef"%s}
routes:
  - {path: /ws, %s}
"""
SIGNED_IN = "access: authenticated"


def problems(route: str, credentials: str = "") -> str:
    with pytest.raises(SettingsError) as caught:
        parse(BASE % (credentials, route), environ={})
    return str(caught.value)


def websocket(settings: str) -> str:
    return f"{SIGNED_IN}, websocket: {{{settings}}}"


@pytest.mark.parametrize(
    ("settings", "place", "message"),
    [
        ('origins: ["*", "https://a.example"]', "origins[0]", "give it alone"),
        ('origins: ["https://A.example/"]', "origins[0]", "as browsers write it"),
        ('origins: ["https://a.example:443"]', "origins[0]", "leave out the port"),
        ("frame_bytes: 2000, message_bytes: 1000", "frame_bytes", "no larger than its message"),
        ("ping_seconds: -1", "ping_seconds", "number"),
        ("hold_seconds: 0", "hold_seconds", "greater than 0"),
        ("reauthenticate: {token_pointer: token}", "token_pointer", "JSON pointer"),
        ("reauthenticate: {type_pointer: /a~2}", "type_pointer", "JSON pointer"),
        ("reauthenticate: {token_pointer: /type}", "token_pointer", "already"),
        ("reauthenticate: {type: ''}", "type", ""),
    ],
)
def test_bad_policies(settings: str, place: str, message: str) -> None:
    told = problems(websocket(settings))
    assert place in told
    assert message in told


def test_a_handshake_is_a_get() -> None:
    assert "a handshake is a GET" in problems(f"{websocket('')}, methods: [POST]")


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ("access: public, websocket: {reauthenticate: {}}", "public route"),
        (
            f"{websocket('reauthenticate: {}')}, credential: certificate",
            "a certificate is of the connection",
        ),
    ],
)
def test_reauthentication_where_no_token_decides(route: str, message: str) -> None:
    assert message in problems(route)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ('query_parameter: "a b"', "must be letters"),
        ("query_parameter: t, ticket_parameter: t", "the parameter of tickets already"),
        ("ticket_seconds: 301", "ticket_seconds"),
    ],
)
def test_bad_credentials(shown: str, message: str) -> None:
    assert message in problems(SIGNED_IN, f", websocket: {{{shown}}}")


def test_good_ones() -> None:
    told: dict[str, Any] = {"origins": ("https://a.example", "null")}
    root = parse(
        BASE
        % (
            ", websocket: {query_parameter: access_token}",
            websocket('origins: ["https://a.example", "null"], reauthenticate: {}'),
        ),
        environ={},
    )
    rule = root.routes[0].websocket
    assert rule is not None
    assert rule.origins == told["origins"]
    assert rule.reauthenticate is not None
