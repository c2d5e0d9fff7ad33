"""The connection of one client: it cuts what arrives into requests, one after the other.

Hot path: a state, a buffer, plain calls. One exchange is under way at a time, so pipelined
requests are answered in order; what follows it waits unread, bounded. Every state has a deadline
(`expire`), and every deadline ends in a close or a reset (PROMISES 19).
"""

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, cast

from sidecar.clock import NEVER, stopwatch
from sidecar.forward.connection import reset
from sidecar.forward.exchange import Exchange
from sidecar.model.decision import Denial
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.parse.body import BodyMalformedError, BodyTooLargeError, ChunkedBody, LengthBody
from sidecar.parse.request import unread_head

if TYPE_CHECKING:
    from sidecar.listen.server import SidecarServer

# Drained after an early refusal, at most: enough for a client to see the answer, not a gift.
_LINGER_BYTES = 1_048_576


class _State(Enum):
    HEAD = "reading a head, or waiting for one"
    BODY = "an exchange is under way and its request is not complete"
    ANSWER = "an exchange is under way and its request is complete"
    LINGER = "answered early; the rest of the request is drained"
    CLOSED = "closing or closed"


_HEAD, _BODY, _ANSWER, _LINGER, _CLOSED = _State


class Downstream(asyncio.Protocol):
    """One client connection.

    Attributes:
        deadline: when the present state has lasted too long.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_drained",
        "_exchange",
        "_half_closed",
        "_is_stalled",
        "_peer",
        "_pending",
        "_reading",
        "_searched",
        "_server",
        "_state",
        "_transport",
        "_unsent",
        "deadline",
    )

    def __init__(self, server: "SidecarServer") -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._peer: Peer | None = None
        self._state = _HEAD
        self._buffer = b""
        self._searched = 0
        self._pending = b""
        self._exchange: Exchange | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._reading = True
        self._is_stalled = False
        self._half_closed = False
        self._unsent = 0
        self._drained = 0
        self.deadline = NEVER

    # -- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client connected."""
        self._transport = cast("asyncio.Transport", transport)
        self.deadline = self._server.now() + self._server.deadlines.head_seconds
        if self._server.admit(self):
            self._peer = self._server.peer_of(self._transport)
        else:
            self._close()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes from the client."""
        state = self._state
        if state is _HEAD and not self._pending:
            self._read_head(self._buffer + data if self._buffer else data)
        elif state is _BODY:
            self._read_body(data)
        elif state is _LINGER:
            self._drained += len(data)
            if self._drained > _LINGER_BYTES:
                self._reset()
        elif state is not _CLOSED:
            self._pending += data
            if len(self._pending) > self._server.limits.pipeline_bytes:
                self._pause()

    def eof_received(self) -> bool:
        """asyncio: the client will send no more. A complete request is still answered."""
        self._half_closed = True
        if self._state is _ANSWER:
            return True
        exchange = self._exchange
        if exchange is not None:
            exchange.client_lost()
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the connection is gone."""
        self._state = _CLOSED
        self._transport = None
        self.deadline = NEVER
        self._server.release(self)
        exchange = self._exchange
        self._exchange = None
        if exchange is not None:
            exchange.client_lost()

    def pause_writing(self) -> None:
        """asyncio: the client does not keep up."""
        self._is_stalled = True
        self._unsent = -1
        self.deadline = self._server.now() + self._server.deadlines.write_stall_seconds
        if self._exchange is not None:
            self._exchange.client_paused()

    def resume_writing(self) -> None:
        """asyncio: it does again."""
        self._is_stalled = False
        self.deadline = NEVER
        if self._exchange is not None:
            self._exchange.client_resumed()
            if self._state is _BODY:
                self._await_body()
        elif self._state is _HEAD:
            self._await_head()

    def expire(self) -> None:
        """Sweeper: the deadline of the present state passed."""
        if self._is_stalled and self._makes_progress():
            self.deadline = self._server.now() + self._server.deadlines.write_stall_seconds
        elif self._is_stalled or self._state in {_LINGER, _CLOSED}:
            self._reset()
        elif self._exchange is not None:
            self._exchange.fail(Reason.REQUEST_TIMEOUT)
        elif self._buffer:
            self._refuse_unread(Denial(Reason.REQUEST_TIMEOUT, "the head did not come in time"))
        else:
            self._close()

    # -- forward.exchange.Client ------------------------------------------------------------

    def write(self, octets: bytes) -> None:
        """Send a part of the response."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(octets)

    def hold_body(self) -> None:
        """The upstream does not keep up: read no more, and do not blame the client for it."""
        self._pause()
        if not self._is_stalled:
            self.deadline = NEVER

    def release_body(self) -> None:
        """Read on."""
        if self._state is _BODY:
            self._resume()
            self._await_body()

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """The response is complete: on to the next request, or the end."""
        self._exchange = None
        self._body = None
        if keep_alive and self._state is _ANSWER and not self._half_closed:
            self._state = _HEAD
            self._await_head()
        elif self._state is _ANSWER and not self._pending:
            self._close()
        elif self._state is not _CLOSED:
            self._linger()

    def abort(self) -> None:
        """The response broke off."""
        self._exchange = None
        self._reset()

    # -- Reading ----------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        server = self._server
        if data.startswith(b"\r\n"):
            # One empty line before a request is ignored (RFC 9112 section 2.2).
            data = data[2:]
            self._buffer = b""
            self._searched = 0
            if not data:
                return
        end = data.find(b"\r\n\r\n", self._searched)
        if end < 0 or end > server.limits.head_bytes:
            self._await_rest_of_head(data)
            return
        self._buffer = b""
        self._searched = 0
        self.deadline = NEVER
        head = server.reader.read(data[: end + 4])
        if head.__class__ is Denial:
            self._refuse_unread(head)
            return
        exchange = Exchange(server.forwarder, self, self._peer, head, stopwatch())  # type: ignore[arg-type]  # head is no Denial, and a connection has a peer
        self._exchange = exchange
        if exchange.is_request_sent:
            self._state = _ANSWER
            self._pending = data[end + 4 :]
            server.begin(exchange)
            return
        self._state = _BODY
        self._begin_body(exchange)
        server.begin(exchange)
        rest = data[end + 4 :]
        if rest and self._exchange is exchange:
            self._read_body(rest)

    def _await_rest_of_head(self, data: bytes) -> None:
        limits = self._server.limits
        if len(data) > limits.head_bytes:
            self._refuse_unread(Denial(Reason.HEAD_TOO_LARGE, f"over {limits.head_bytes} bytes"))
        elif len(data) > limits.target_bytes + 64 and b"\r\n" not in data:
            self._refuse_unread(Denial(Reason.TARGET_TOO_LONG, f"over {limits.target_bytes} bytes"))
        else:
            if not self._buffer:
                self.deadline = self._server.now() + self._server.deadlines.head_seconds
            self._buffer = data
            self._searched = max(0, len(data) - 3)

    def _begin_body(self, exchange: Exchange) -> None:
        limits = self._server.limits
        length = exchange.head.body_length
        if length is None:
            self._body = ChunkedBody(limits.chunk_line_bytes, limits.trailer_bytes)
        else:
            self._body = LengthBody(length)
        self._await_body()

    def _read_body(self, data: bytes) -> None:
        body = self._body
        exchange = self._exchange
        if body is None or exchange is None:
            return
        try:
            payload = body.feed(data)
        except BodyMalformedError:
            exchange.fail(Reason.MALFORMED_REQUEST)
            return
        except BodyTooLargeError:
            exchange.fail(Reason.HEAD_TOO_LARGE)
            return
        most = self._server.limits.body_bytes
        if most and exchange.bytes_in + len(payload) > most:
            exchange.fail(Reason.BODY_TOO_LARGE)
            return
        if body.ended:
            self._state = _ANSWER
            self._pending = body.rest
            self.deadline = NEVER
        else:
            self._await_body()
        exchange.feed(payload, ended=body.ended)

    def _await_body(self) -> None:
        if self._reading and not self._is_stalled:
            self.deadline = self._server.now() + self._server.deadlines.body_idle_seconds

    def _await_head(self) -> None:
        """Wait for the next request, which may have arrived already."""
        if self._is_stalled:
            return  # its answer would only be added to what is not read
        if self._pending:
            # By way of the loop: a million pipelined requests must not be a million frames deep.
            asyncio.get_running_loop().call_soon(self._read_pending)
            return
        self._resume()
        if self._server.is_draining:
            self._close()
        else:
            self.deadline = self._server.now() + self._server.deadlines.keep_alive_seconds

    def _read_pending(self) -> None:
        if self._state is not _HEAD or self._is_stalled:
            return
        pending = self._pending
        self._pending = b""
        self._resume()
        self._read_head(pending)

    # -- Ending -----------------------------------------------------------------------------

    def drain(self) -> None:
        """End when nothing is under way; what is under way ends with its response."""
        if self._state is _HEAD and not self._buffer and not self._pending:
            self._close()

    def _refuse_unread(self, denial: Denial) -> None:
        """Refuse what could not be read as a request; nothing after it can be either."""
        self._buffer = b""
        exchange = Exchange(
            self._server.forwarder,
            self,
            cast("Peer", self._peer),
            unread_head(),
            stopwatch(),
        )
        self._exchange = exchange
        self._state = _BODY
        exchange.refuse(denial)

    def _linger(self) -> None:
        """Half-close, then drain: closing at once would reset the answer away (RFC 9112, 9.6)."""
        self._state = _LINGER
        self._pending = b""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not transport.can_write_eof() or self._half_closed:
            self._close()
            return
        transport.write_eof()
        self._resume()
        self.deadline = self._server.now() + self._server.deadlines.linger_seconds

    def _close(self) -> None:
        """Close when all is sent; a client that does not read is reset at the deadline."""
        self._state = _CLOSED
        if self._transport is not None:
            self.deadline = self._server.now() + self._server.deadlines.write_stall_seconds
            self._transport.close()

    def _reset(self) -> None:
        self._state = _CLOSED
        self.deadline = NEVER
        if self._transport is not None:
            reset(self._transport)

    def _makes_progress(self) -> bool:
        """Whether the client has read anything since the last look."""
        before = self._unsent
        self._unsent = self._transport.get_write_buffer_size() if self._transport else 0
        return before < 0 or self._unsent < before

    def _pause(self) -> None:
        if self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
