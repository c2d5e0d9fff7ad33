"""What is offered, and what may be agreed."""

import pytest

from sidecar.model.head import Upgrade
from sidecar.parse.response import ResponseHead
from sidecar.relay.handshake import Agreement, accept_key, agree, is_of_handshake, offer

# RFC 6455 section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
DEFLATE = b"permessage-deflate"


def answer(*fields: tuple[bytes, bytes], minor: int = 1) -> ResponseHead:
    given = {
        b"connection": b"keep-alive, Upgrade",
        b"upgrade": b"WebSocket",
        b"sec-websocket-accept": ACCEPT,
    }
    head = ResponseHead(101, minor)
    head.set_fields((*given.items(), *fields))
    return head


def test_the_example_of_the_rfc() -> None:
    assert accept_key(KEY) == ACCEPT


def test_what_goes_upstream() -> None:
    upgrade = Upgrade(KEY, (b"sidecar.bearer.x", b"chat"), DEFLATE + b"; client_max_window_bits, x")
    offered = offer(upgrade, may_compress=True)
    assert offered.fields.decode().split("\r\n") == [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: chat",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "",
    ]
    plain = offer(Upgrade(KEY, (b"sidecar.bearer.x",), DEFLATE), may_compress=False)
    assert plain.fields.count(b"\r\n") == 4
    assert is_of_handshake(b"sec-websocket-protocol")
    assert not is_of_handshake(b"sec-websocket-x")


def agreed(
    extensions: bytes, answered: bytes, *, subprotocols: tuple[bytes, ...] = ()
) -> Agreement | str:
    upgrade = Upgrade(KEY, subprotocols, extensions)
    fields = ((b"sec-websocket-extensions", answered),) if answered else ()
    return agree(upgrade, offer(upgrade, may_compress=True), answer(*fields))


@pytest.mark.parametrize(
    ("offered", "answered", "is_good"),
    [
        (DEFLATE, b"", True),
        (DEFLATE, DEFLATE, True),
        (DEFLATE, DEFLATE.upper(), True),
        (DEFLATE, DEFLATE + b"; server_no_context_takeover", True),
        (DEFLATE, DEFLATE + b"; client_no_context_takeover", True),
        (DEFLATE, DEFLATE + b"; server_max_window_bits=10", True),
        (DEFLATE, DEFLATE + b'; server_max_window_bits="10"', True),
        (DEFLATE + b"; client_max_window_bits", DEFLATE + b"; client_max_window_bits=9", True),
        (DEFLATE + b"; server_max_window_bits=10", DEFLATE + b"; server_max_window_bits=9", True),
        # As wide as there is: left out it means the same (Autobahn 13.4 before aiohttp).
        (DEFLATE + b"; server_max_window_bits=15", DEFLATE, True),
        (DEFLATE + b"; server_max_window_bits=15", DEFLATE + b"; server_max_window_bits=9", True),
        (DEFLATE + b"; server_max_window_bits=14", DEFLATE, False),
        (DEFLATE + b"; x=1, " + DEFLATE, DEFLATE, True),
        (b"", DEFLATE, False),
        (b"x-webkit-deflate-frame", b"x-webkit-deflate-frame", False),
        (DEFLATE, DEFLATE + b", " + DEFLATE, False),
        (DEFLATE, DEFLATE + b"; client_max_window_bits=9", False),
        (DEFLATE + b"; client_max_window_bits", DEFLATE + b"; client_max_window_bits", False),
        (DEFLATE + b"; server_max_window_bits=9", DEFLATE + b"; server_max_window_bits=10", False),
        (DEFLATE + b"; server_max_window_bits=9", DEFLATE, False),
        (DEFLATE + b"; server_no_context_takeover", DEFLATE, False),
        (DEFLATE, DEFLATE + b"; server_max_window_bits=7", False),
        (DEFLATE, DEFLATE + b"; server_max_window_bits", False),
        (DEFLATE, DEFLATE + b"; server_no_context_takeover; server_no_context_takeover", False),
        (DEFLATE, DEFLATE + b"; unknown", False),
    ],
)
def test_extensions(offered: bytes, answered: bytes, is_good: bool) -> None:
    outcome = agreed(offered, answered)
    assert isinstance(outcome, Agreement) is is_good
    if isinstance(outcome, Agreement):
        assert outcome.compresses is bool(answered)
        assert (answered in outcome.fields) is True


def test_subprotocols() -> None:
    upgrade = Upgrade(KEY, (b"sidecar.bearer.x", b"chat"))
    offered = offer(upgrade, may_compress=True)
    chosen = agree(upgrade, offered, answer((b"sec-websocket-protocol", b"chat")))
    assert isinstance(chosen, Agreement)
    assert chosen.subprotocol == "chat"
    none = agree(upgrade, offered, answer())
    assert isinstance(none, Agreement)
    assert none.subprotocol == ""
    assert b"Sec-WebSocket-Protocol: sidecar.bearer.x\r\n" in none.fields
    for wrong in (b"sidecar.bearer.x", b"Chat", b"other", b"chat, chat"):
        outcome = agree(upgrade, offered, answer((b"sec-websocket-protocol", wrong)))
        assert outcome == "a subprotocol that was not offered"


def test_answers_that_are_none() -> None:
    upgrade = Upgrade(KEY)
    offered = offer(upgrade, may_compress=True)
    assert agree(upgrade, offered, answer(minor=0)) == "no Connection: Upgrade"
    assert isinstance(agree(upgrade, offered, answer((b"upgrade", b"h2c"))), str)
    assert isinstance(agree(upgrade, offered, answer((b"sec-websocket-accept", ACCEPT))), str)
