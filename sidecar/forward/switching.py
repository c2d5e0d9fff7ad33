"""What forwarding asks of whoever relays WebSockets, and hands over to them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sidecar.model.head import RequestHead
from sidecar.parse.response import ResponseHead

if TYPE_CHECKING:
    from sidecar.forward.exchange import Exchange


@dataclass(slots=True)
class Handed:
    """A connection that from now on is somebody else's.

    Attributes:
        transport: the connection; its protocol is to be replaced at once.
        octets: what was read and belongs to nobody yet.
        lost: to be called when it is gone.
        is_stalled: whether the other end did not keep up.
    """

    transport: asyncio.Transport
    octets: bytes
    lost: Callable[[], None]
    is_stalled: bool = False


class Switches(Protocol):
    """Whoever relays."""

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another."""
        ...

    def request(self, exchange: "Exchange") -> tuple[RequestHead, bytes]:
        """The head as it goes upstream, and the fields of the handshake beside it."""
        ...

    def accept(self, exchange: "Exchange", answer: ResponseHead) -> bytes | None:
        """The fields of the handshake for the client; None where the upstream's are no answer."""
        ...

    def begin(
        self, exchange: "Exchange", answer: ResponseHead, client: Handed, upstream: Handed
    ) -> None:
        """Both connections are there, and the client was told."""
        ...
