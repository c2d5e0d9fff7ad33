"""The connection of one client: it cuts what arrives into requests, one after the other.

Hot path: a state, a buffer, plain calls. One exchange is under way at a time, so pipelined
requests are answered in order; what follows it waits unread, bounded. Every state has a deadline
(`expire`), and every deadline ends in a close or a reset (PROMISES 19).
"""

import asyncio
from typing import TYPE_CHECKING, cast

from sidecar.clock import NEVER, stopwatch
from sidecar.forward.exchange import Exchange
from sidecar.forward.switching import Handed
from sidecar.listen.kept import Kept
from sidecar.listen.limits import body_reader, goes_on, refuse_unfinished
from sidecar.listen.pace import body_due
from sidecar.listen.state import ANSWER, BODY, CLOSED, HEAD, LINGER
from sidecar.model.decision import Denial
from sidecar.model.holding import Holding
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.parse.body import BodyMalformedError, BodyTooLargeError
from sidecar.parse.proxy_protocol import Origin
from sidecar.parse.request import unread_head

if TYPE_CHECKING:
    from sidecar.listen.server import SidecarServer

# Drained after an early refusal, at most: enough for a client to see the answer, not a gift.
_LINGER_BYTES = 1_048_576
# When draining, a connection that has not asked for anything is waited for this long.
_FIRST_REQUEST_SECONDS = 0.5


class Downstream(Kept):
    """One client connection.

    Attributes:
        deadline: when the present state has lasted too long.
        belief: of the server, when the handshake began.
        origin: whom a load balancer says that it comes from; None where none says anything.
    """

    __slots__ = (
        "_begun", "_drained", "_due", "_half_closed", "_is_held", "_is_last", "_peer", "_searched",
        "_state", "belief", "deadline", "origin",
    )  # fmt: skip

    def __init__(self, server: "SidecarServer") -> None:
        super().__init__(server)
        self._peer: Peer | None = None
        self._state = HEAD
        self._searched = 0
        self._begun = True  # a new connection owes a head, as one that sent its first byte does
        self._is_held = False
        self._is_last = False
        self._half_closed = False
        self._due = 0.0  # while held, the seconds that are left
        self._drained = 0
        self.deadline = NEVER
        self.belief = server.belief
        self.origin: Origin | None = None

    # -- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a client connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._peer = self._server.peer_of(self._transport, self.origin)
        if self._peer is None:
            # Reset between the handshake and the accept: nobody is there.
            self._state = CLOSED
            self._transport.abort()
            return
        self._arm()
        # Verified against authorities that were replaced while the handshake went on, nobody would
        # ever ask again about its certificate.
        is_outdated = self._peer.certificate is not None and self.belief != self._server.belief
        if not self._server.admit(self) or is_outdated:
            self._close()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes from the client."""
        state = self._state
        if state is HEAD and not self._pending and not self._is_stalled:
            self._read_head(self._buffer + data if self._buffer else data)
        elif state is BODY:
            self._read_body(data)
        elif state is LINGER:
            self._drained += len(data)
            if self._drained > _LINGER_BYTES:
                self._reset()
        elif state is not CLOSED:
            self._pending += data
            if len(self._pending) > self._server.limits.pipeline_bytes:
                self._pause()
            self._tell_budget()

    def eof_received(self) -> bool:
        """asyncio: the client will send no more. Complete requests are still answered."""
        self._half_closed = True
        transport = self._transport
        if transport is None or not transport.can_write_eof():
            # The end of TLS is the end of both directions: the transport is closing.
            pass
        elif self._state is ANSWER or (self._state is HEAD and self._pending):
            return True
        exchange = self._exchange
        if exchange is not None:
            exchange.client_lost()
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: the connection is gone."""
        self._state = CLOSED
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
        self._begin_watching()
        self._arm()
        if self._exchange is not None:
            self._exchange.client_paused()
        elif self._state is HEAD:
            self._pause()
        self._tell_budget()

    def resume_writing(self) -> None:
        """asyncio: it does again."""
        # Before more is written: what it took until now counts, and so does the time.
        self._makes_progress()
        self._is_stalled = False
        self._arm()
        self._tell_budget()
        if self._exchange is not None:
            self._exchange.client_resumed()
        elif self._state is HEAD:
            self._await_head()

    def expire(self) -> None:
        """Sweeper: the deadline of the present state passed."""
        if (self._is_stalled or self._state is CLOSED) and self._makes_progress():
            self._arm()
        elif self._is_stalled or self._state is CLOSED:
            self._reset_telling()
        elif self._state is LINGER:
            # What is still being sent is sent; only who goes on sending is reset, by the kernel.
            self._close()
        elif self._exchange is not None:
            self._exchange.fail(Reason.REQUEST_TIMEOUT)
        elif self._buffer.strip():
            self._refuse_unread(Denial(Reason.REQUEST_TIMEOUT, "the head did not come in time"))
        else:
            self._close()

    def _arm(self) -> None:
        """Set the deadline of the present state. The only place that does.

        While an exchange waits for its upstream, the upstream's deadline watches over both.
        """
        deadlines = self._server.deadlines
        state = self._state
        if self._is_stalled or state is CLOSED:
            self.deadline = self._look_due
            return
        if state is HEAD:
            seconds = deadlines.head_seconds if self._begun else deadlines.keep_alive_seconds
        elif state is LINGER:
            seconds = deadlines.linger_seconds
        else:
            self.deadline = self._due if state is BODY and not self._is_held else NEVER
            return
        self.deadline = self._server.now() + seconds

    # -- forward.exchange.Client ------------------------------------------------------------

    def hold_body(self) -> None:
        """The upstream does not keep up: read no more, and do not blame the client for it."""
        if not self._is_held:
            self._is_held = True
            self._due -= self._server.now()
        self._pause()
        self._arm()
        self._tell_budget()

    def release_body(self) -> None:
        """Read on: first what is there already, by way of the loop (others wait, too)."""
        if self._is_held:
            self._is_held = False
            self._due += self._server.now()
        if self._body is not None and self._body.is_behind:
            asyncio.get_running_loop().call_soon(self._continue_body)
        elif self._state is BODY:
            self._resume()
        self._arm()
        self._tell_budget()

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """The response is complete: on to the next request, or the end."""
        exchange = self._exchange
        self._exchange = None
        self._body = None
        self._is_held = False
        is_kept = keep_alive and (not self._half_closed or bool(self._pending))
        if is_kept and self._state is ANSWER:
            self._state = HEAD
            self._begun = False
            server = self._server
            if (
                self._pending
                or self._is_stalled
                or self._half_closed
                or not self._reading
                or server.forwarder.is_draining
            ):
                self._await_head()
            else:
                self.deadline = server.now() + server.deadlines.keep_alive_seconds  # as `_arm`
            if self._is_told:
                self._tell_budget()
        elif self._state is CLOSED:
            return
        elif self._state is ANSWER and not self._pending and not goes_on(exchange):
            self._close()
        else:
            self._linger()

    def abort(self) -> None:
        """The response broke off."""
        self._exchange = None
        self._reset()

    def hand_over(self) -> Handed | None:
        """Give the connection away, with what was read too early; a place of ours it keeps."""
        if self._is_last:
            # Whoever would have it now is not told again that its certificate counts no more.
            self._close()
        transport = self._transport
        if transport is None or transport.is_closing() or self._half_closed:
            return None
        handed = Handed(transport, self._pending, self._given_up, self._is_stalled)
        self._resume()
        self._exchange = None
        self._pending = b""
        self._transport = None
        self._state = CLOSED
        self.deadline = NEVER
        self._server.budget.forget(self)
        return handed

    def _given_up(self) -> None:
        self._server.release(self)

    # -- Reading ----------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        if self._is_last:
            # What was on its way when we stopped believing its certificate.
            self._linger()
            return
        server = self._server
        # One empty line before a request is ignored (RFC 9112 section 2.2), however it is cut.
        begin = 2 if data.startswith(b"\r\n") else 0
        end = data.find(b"\r\n\r\n", max(begin, self._searched))
        if end < 0 or end > server.limits.head_bytes:
            self._await_rest_of_head(data)
            return
        self._buffer = b""
        self._searched = 0
        head = server.reader.read(data[begin : end + 4])
        if isinstance(head, Denial):
            self._refuse_unread(head)
            return
        peer = self._peer
        if peer is None:  # unreachable: such a connection is closed before it is read
            return
        exchange = Exchange(server.forwarder, self, peer, head, stopwatch())
        self._exchange = exchange
        if exchange.is_request_sent:
            self._state = ANSWER
            self.deadline = NEVER  # as `_arm` would: a client that is stalled is not read
            self._pending = data[end + 4 :]
            server.begin(exchange)
            if self._pending:
                self._tell_budget()
            return
        self._state = BODY
        self._body = body_reader(head.body_length, server.limits)
        if self._body is None:
            exchange.fail(Reason.BODY_TOO_LARGE)
            return
        self._due = server.deadlines.body_idle_seconds
        # Who asks first is told by the upstream, whose deadline it is until then.
        self._is_held = head.expects_continue
        if not self._is_held:
            self._due += server.now()
        self._arm()
        self._resume()
        server.begin(exchange)
        rest = data[end + 4 :]
        if (rest or self._half_closed) and self._exchange is exchange:
            self._read_body(rest)

    def _await_rest_of_head(self, data: bytes) -> None:
        refused = refuse_unfinished(data, self._server.limits)
        if refused is not None:
            self._refuse_unread(refused)
        elif self._half_closed:
            self._close()
        else:
            self._buffer = data
            self._searched = max(0, len(data) - 3)
            self._resume()
            if not self._begun:
                # From its first bytes on a head has to come, drop by drop or not.
                self._begun = True
                self._arm()
            self._tell_budget()

    def _read_body(self, data: bytes) -> None:
        body = self._body
        exchange = self._exchange
        if body is None or exchange is None:
            return
        if data and self._is_held and self._reading:
            # Sent without waiting for 100 (RFC 9110 section 10.1.1): its time has begun.
            self._is_held = False
            self._due += self._server.now()
        try:
            payload = body.feed(data)
        except BodyMalformedError:
            exchange.fail(Reason.MALFORMED_REQUEST)
            return
        except BodyTooLargeError:
            exchange.fail(Reason.HEAD_TOO_LARGE)
            return
        server = self._server
        most = server.limits.body_bytes
        if most and exchange.bytes_in + len(payload) > most:
            exchange.fail(Reason.BODY_TOO_LARGE)
            return
        if body.ended:
            self._state = ANSWER
            self._pending = body.rest
        elif not self._is_held:
            now, size = server.now(), len(payload)
            self._due = body_due(self._due, size, now, server.limits, server.deadlines)
        self._arm()
        exchange.feed(payload, ended=body.ended)
        if self._exchange is not exchange:
            pass  # ended within: whether more is read is up to what came after it
        elif body.is_behind or not self._reading:
            self._pause()
            asyncio.get_running_loop().call_soon(self._continue_body)
        elif self._half_closed and not body.ended:
            exchange.client_lost()
        self._tell_budget()

    def _continue_body(self) -> None:
        """Read what is left of the last octets, then go on."""
        if self._state is not BODY or self._is_held or self._body is None:
            return
        if self._body.is_behind:
            self._read_body(b"")
        else:
            self._resume()

    def _await_head(self) -> None:
        """Wait for the next request, which may have arrived already."""
        if self._is_stalled:
            # Its answer would only be added to what is not read; `resume_writing` comes here again.
            self._pause()
        elif self._pending:
            # By way of the loop: a million pipelined requests must not be a million frames deep.
            asyncio.get_running_loop().call_soon(self._read_pending)
        elif self._server.is_draining or self._half_closed:
            self._close()
            return
        else:
            self._resume()
        self._arm()

    def _read_pending(self) -> None:
        if self._state is not HEAD or self._is_stalled:
            return
        pending = self._pending
        self._pending = b""
        if len(pending) <= self._server.limits.pipeline_bytes:
            # Not before: each turn of the loop would read more than it serves.
            self._resume()
        self._read_head(pending)

    # -- Ending -----------------------------------------------------------------------------

    def drain(self) -> None:
        """End when nothing is under way; what is under way ends with its response."""
        if self._state is not HEAD or self._buffer or self._pending:
            return
        if self._begun:
            # Its first request may be on its way: closing now would reset it.
            self.deadline = min(self.deadline, self._server.now() + _FIRST_REQUEST_SECONDS)
        else:
            self._close()

    @property
    def is_resting(self) -> bool:
        """Whether it was served, and has not begun to ask again."""
        is_idle = self._state is HEAD and not self._begun and not self._is_stalled
        return is_idle and not self._buffer and not self._pending

    def retire_certified(self) -> None:
        """Other authorities are believed now: who presented a certificate has to do so anew."""
        if self._peer is None or self._peer.certificate is None:
            return
        self._is_last = True
        if self._exchange is not None:
            # What is pipelined behind it is dropped with the connection, unread.
            self._exchange.be_last()
        elif self._state is HEAD and (self._buffer or self._pending):
            self._buffer = b""
            self._linger()
        elif self._state is HEAD:
            self._close()

    def cut(self) -> None:
        """End now: what has not been answered gets 503, what is being answered breaks off."""
        if self._exchange is not None:
            self._exchange.fail(Reason.DRAINING)
        else:
            self._close()

    def _reset_telling(self) -> None:
        """Reset; the exchange under way learns that nobody waits for it any more."""
        exchange = self._exchange
        self._exchange = None
        self._state = CLOSED
        if exchange is not None:
            exchange.client_lost()
        self._reset()

    def _refuse_unread(self, denial: Denial) -> None:
        """Refuse what could not be read as a request; nothing after it can be either."""
        self._buffer = b""
        peer = cast("Peer", self._peer)
        exchange = Exchange(self._server.forwarder, self, peer, unread_head(), stopwatch())
        self._exchange = exchange
        self._state = BODY
        exchange.refuse(denial)

    def _linger(self) -> None:
        """Half-close, then drain: closing at once would reset the answer away (RFC 9112, 9.6)."""
        self._state = LINGER
        self._pending = b""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._half_closed:
            self._close()
            return
        if transport.can_write_eof():  # TLS knows no half-close: there the answer itself says it
            transport.write_eof()
        self._resume()
        self._arm()

    def _close(self) -> None:
        """Close when all is sent; a client that does not read is reset at the deadline."""
        self._state = CLOSED
        if self._transport is not None:
            self._begin_watching()
            self._arm()
            self._transport.close()

    def _reset(self) -> None:
        self._state = CLOSED
        self.deadline = NEVER
        self._break_off()

    def shed(self) -> Holding:
        """Memory for all clients is used up, and this one holds a large part of it."""
        is_unread = self._is_stalled
        if is_unread or self._exchange is None:
            self._reset_telling()
        else:
            self._exchange.be_last()
            self._exchange.fail(Reason.OVERLOADED)
        return Holding.ANSWER if is_unread else Holding.REQUEST
