"""What becomes of two connections where nobody takes them over."""

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.forward.exchange import Exchange
from sidecar.forward.switching import Handed


class Transport:
    """Remembers what happened to it."""

    def __init__(self) -> None:
        self.written = b""
        self.is_aborted = False

    def write(self, octets: bytes) -> None:
        self.written += octets

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.parametrize("breaks", ["ended", "begin"])
def test_a_bug_behind_a_101_ends_both(breaks: str) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    def fine(*_: object) -> None:
        pass

    client, upstream = Transport(), Transport()
    forwarder: Any = SimpleNamespace(
        switches=SimpleNamespace(
            accept=lambda *_: b"", is_full=False, begin=broken if breaks == "begin" else fine
        ),
        response_fields=SimpleNamespace(switching=lambda *_, **__: b"101"),
        ended=broken if breaks == "ended" else fine,
    )
    exchange: Any = Exchange.__new__(Exchange)
    exchange._is_stalled = False
    exchange._forwarder = forwarder
    exchange._client = SimpleNamespace(hand_over=lambda: Handed(_any(client), b"", fine))
    exchange._connection = SimpleNamespace(hand_over=lambda _: Handed(_any(upstream), b"", fine))
    exchange.head = SimpleNamespace(upgrade=True)
    exchange.request_id, exchange.fields, exchange.asked = b"r1", b"", None
    with pytest.raises(RuntimeError, match="a bug"):
        exchange.switch(SimpleNamespace(status=101), b"")
    assert client.written == b"101"
    assert client.is_aborted
    assert upstream.is_aborted


def _any(transport: object) -> Any:
    return transport
