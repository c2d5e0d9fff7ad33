"""One end of a relayed WebSocket: a connection to the client, or to the upstream."""

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from sidecar.clock import NEVER
from sidecar.relay.closing import CLOSE, close_payload, frame
from sidecar.relay.frames import Frames
from sidecar.relay.joining import Joiner, Whole

if TYPE_CHECKING:
    from sidecar.relay.session import Session

# What waits in our memory until an end reads on; then the other end is not read either.
_HIGH_WATER_BYTES = 65_536


class Handed(Protocol):
    """A connection that was given away (`forward.switching.Handed`)."""

    transport: asyncio.Transport
    octets: bytes
    is_stalled: bool

    @property
    def lost(self) -> Callable[[], None]:
        """To be called when it is gone."""


class End(asyncio.Protocol):
    """An end, and what comes from it.

    Args:
        session: whose end it is.
        handed: the connection.
        frames: watches what comes from it.
        joiner: joins it to messages, where these are read.
        is_client: whether it is the client's.

    Attributes:
        other: the other end.
        transport: None once it is gone.
        octets: how many came.
        is_pinged: whether it was sent a ping and showed no sign of life since.
        silent_looks: how often in a row it had shown none.
        is_stalled: whether it does not keep up with what it is sent.
        stall_due: when it has not kept up for too long.
        is_reading: whether it is read.
        is_told: whether it was sent a close frame, after which it is sent nothing.
        has_offended: whether it broke the protocol or a limit, after which nothing of it counts.
        late: what came while nothing may pass, in order.
        waiting: what was read and is not decided yet.
    """

    __slots__ = (
        "_is_heard", "_lost", "_session", "_taken", "_unread", "frames", "has_offended",
        "is_client", "is_pinged", "is_reading", "is_stalled", "is_told", "joiner", "late", "octets",
        "other", "silent_looks", "stall_due", "transport", "waiting",
    )  # fmt: skip

    other: "End"

    def __init__(
        self,
        session: "Session",
        handed: Handed,
        frames: Frames,
        joiner: Joiner | None,
        *,
        is_client: bool,
    ) -> None:
        self._session = session
        self._lost = handed.lost
        self.frames = frames
        self.joiner = joiner
        self.is_client = is_client
        self.transport: asyncio.Transport | None = handed.transport
        self.octets = 0
        self.is_pinged = False
        self.silent_looks = 0
        self._is_heard = True
        self._taken = self._unread = 0
        self.is_stalled = handed.is_stalled
        self.stall_due = NEVER
        self.is_reading = True
        self.is_told = False
        self.has_offended = False
        self.late: list[bytes] = []
        self.waiting: list[Whole] = []

    def begin(self) -> None:
        """From now on the connection is ours."""
        transport = cast("asyncio.Transport", self.transport)
        transport.set_protocol(self)
        transport.set_write_buffer_limits(_HIGH_WATER_BYTES)

    # -- asyncio.Protocol -------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """asyncio: octets."""
        self._is_heard = True
        self.octets += len(data)
        self._session.received(self, data)

    def eof_received(self) -> None:
        """asyncio: nothing more will come. It is closed when it was sent what waits for it."""
        self._session.ending.half_closed(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the connection is gone."""
        self.transport = None
        self._lost()
        self._session.ending.lost(self)

    def pause_writing(self) -> None:
        """asyncio: it does not keep up."""
        self.is_stalled = True
        self._session.stalled(self)

    def resume_writing(self) -> None:
        """asyncio: it does again."""
        self.is_stalled = False
        self._session.flows(self)

    # -- Whether it is there ----------------------------------------------------------------

    def shows_life(self) -> bool:
        """Whether there was a sign of life since this was last asked.

        To take what waited for it is one: a slow reader answers a ping after all that came before
        it. To take what it was sent since is none: kernels do that for programs that hang.
        """
        if self._is_heard or not self.is_reading:
            self._is_heard = False
            self._unread = 0
            return True
        return self.took_some()

    def took_some(self) -> bool:
        """Whether it took, since this was last asked, of what was waiting for it then."""
        taken, unread = self._taken, self._unread
        if self.transport is not None and not self.transport.is_closing():
            self._taken, self._unread = self._session.backlog(self.transport)
        return unread > 0 and self._taken > taken

    @property
    def has_unread(self) -> bool:
        """Whether anything was waiting for it when `took_some` was last asked."""
        return self._unread > 0

    # -- Towards it -------------------------------------------------------------------------

    @property
    def at_boundary(self) -> bool:
        """Whether what it was sent ends with a frame, so that one of ours may follow."""
        return self.other.joiner is not None or self.other.frames.at_boundary

    @property
    def unsent(self) -> int:
        """Octets that it was sent and that have not left."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    @property
    def kept_bytes(self) -> int:
        """Octets that wait in our memory: for it, or of what came from it."""
        size = self.unsent if self.is_stalled else 0
        if self.late:
            size += sum(map(len, self.late))
        if self.joiner is not None:
            size += self.joiner.kept_bytes + sum(
                len(whole.octets) + len(whole.payload) for whole in self.waiting
            )
        return size

    def write(self, octets: bytes) -> None:
        """Send; nothing where it is gone or was told the end."""
        if self.transport is not None and not self.is_told and not self.transport.is_closing():
            self.transport.write(octets)

    def say(self, opcode: int, payload: bytes) -> None:
        """Send a frame of ours, where one may follow: `at_boundary`."""
        # An upstream takes us for the client, whose frames are masked.
        self.write(frame(opcode, payload, b"" if self.is_client else os.urandom(4)))

    def tell(self, code: int, reason: str = "") -> bool:
        """Send a close frame; False where none can follow: then the end is reset."""
        if self.is_told or self.transport is None:
            return True
        if not self.at_boundary:
            self.abort()
            return False
        self.say(CLOSE, close_payload(code, reason))
        self.is_told = True
        return True

    def read_on(self, on: bool) -> None:  # noqa: FBT001 - the state that is wanted
        """Read it, or do not."""
        transport = self.transport
        if transport is None or on is self.is_reading or transport.is_closing():
            return
        self.is_reading = on
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def close(self) -> None:
        """End when all is sent."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """End now, so that it is seen to be no proper end."""
        if self.transport is not None:
            self._session.reset(self.transport)
