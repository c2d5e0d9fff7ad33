"""The transport of a client's connection, while there is one."""

import asyncio
from typing import TYPE_CHECKING

from sidecar.clock import NEVER
from sidecar.forward.connection import reset
from sidecar.listen.pace import Patience, patience, taken

if TYPE_CHECKING:
    from sidecar.listen.server import SidecarServer


class Wire(asyncio.Protocol):
    """Writes, pauses and resets; each of them does nothing on a transport that is closing.

    Args:
        server: whose limits hold.
    """

    __slots__ = ("_patience", "_reading", "_server", "_transport")

    def __init__(self, server: "SidecarServer") -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._patience: Patience | None = None

    def write(self, octets: bytes) -> None:
        """Send a part of the response."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(octets)

    def _pause(self) -> None:
        if self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def _break_off(self) -> None:
        """End with a reset, so that what was sent is not taken for all."""
        if self._transport is not None:
            reset(self._transport)

    def _begin_watching(self) -> None:
        """From now on the client has to read."""
        if self._transport is None:
            return
        server = self._server
        if self._patience is None:
            self._patience = patience(server.limits, server.deadlines)
        if self._patience is not None:
            self._patience.begin(taken(self._transport), server.now())

    def _makes_progress(self) -> bool:
        """Whether the client has read enough until now."""
        if self._patience is None or self._transport is None:
            return True
        return self._patience.lasts(taken(self._transport), self._server.now())

    def lags(self) -> bool:
        """Whether the client took next to nothing since the last question, or since it paused."""
        if self._patience is None or self._transport is None:
            return False
        return self._patience.lags(taken(self._transport), self._server.now())

    @property
    def _look_due(self) -> float:
        """When to look at that again: not only at the end, as what is earned early is capped."""
        if self._patience is None:
            return NEVER
        seconds = self._server.deadlines.write_stall_seconds
        return min(self._patience.until, self._server.now() + seconds)
