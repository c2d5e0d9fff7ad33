"""What a client's connection keeps in memory, told to the budget of all of them."""

from typing import TYPE_CHECKING

from sidecar.forward.exchange import Exchange
from sidecar.listen.budget import LITTLE_BYTES
from sidecar.listen.wire import Wire
from sidecar.model.holding import Holding
from sidecar.parse.body import ChunkedBody, LengthBody

if TYPE_CHECKING:
    from sidecar.listen.server import SidecarServer


class Kept(Wire):
    """The octets of one connection that wait.

    Args:
        server: whose budget it is.
    """

    __slots__ = ("_body", "_buffer", "_exchange", "_is_stalled", "_is_told", "_pending")

    def __init__(self, server: "SidecarServer") -> None:
        super().__init__(server)
        self._buffer = b""  # an unfinished head
        self._pending = b""  # what follows the request under way
        self._exchange: Exchange | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._is_stalled = False
        self._is_told = False

    def kept_bytes(self) -> int:
        """Octets that wait: of requests, for us or the upstream; of answers, for the client."""
        size = len(self._buffer) + len(self._pending)
        if self._body is not None and self._exchange is not None:
            size += self._body.waiting + self._exchange.kept_bytes
        if self._is_stalled and self._transport is not None:
            size += self._transport.get_write_buffer_size()
        return size

    def shed(self) -> Holding:
        """Give it all up; what it was."""
        raise NotImplementedError

    def _tell_budget(self) -> None:
        """Tell when more than a little is kept, or was."""
        if self._is_told or self.kept_bytes() > LITTLE_BYTES:
            self._is_told = self._server.budget.tell(self)
