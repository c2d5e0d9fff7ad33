"""The transport of a client's connection, while there is one."""

import asyncio
from typing import TYPE_CHECKING

from sidecar.forward.connection import reset
from sidecar.listen.pace import keeps_up, unread

if TYPE_CHECKING:
    from sidecar.listen.server import SidecarServer


class Wire(asyncio.Protocol):
    """Writes, pauses and resets; each of them does nothing on a transport that is closing.

    Args:
        server: whose limits hold.
    """

    __slots__ = ("_reading", "_server", "_transport", "_unsent")

    def __init__(self, server: "SidecarServer") -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._unsent = 0

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
        """From now on the client has to read; the next look is the first."""
        self._unsent = -1

    def _makes_progress(self) -> bool:
        """Whether the client has read enough since the last look."""
        before = self._unsent
        self._unsent = unread(self._transport) if self._transport else 0
        server = self._server
        return before < 0 or keeps_up(before, self._unsent, server.limits, server.deadlines)
