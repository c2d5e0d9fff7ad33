"""One connection to an upstream: it carries one exchange after the other.

Hot path: protocol callbacks and plain calls, no task for each request. What arrives without
having been asked for ends the connection (PROMISES 6).
"""

import asyncio
import select
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from sidecar.clock import NEVER
from sidecar.forward.switching import Handed
from sidecar.model.reason import Reason
from sidecar.parse.body import (
    BodyMalformedError,
    BodyReader,
    BodyTooLargeError,
    ChunkedBody,
    LengthBody,
    UntilCloseBody,
)
from sidecar.parse.fields import kept_seconds, tokens
from sidecar.parse.framing import UNTIL_CLOSE, UpstreamMalformedError, response_length
from sidecar.parse.response import ResponseHead

if TYPE_CHECKING:
    from sidecar.forward.exchange import Exchange
    from sidecar.forward.pool import UpstreamPool

# An upstream may send a few 103 (Early Hints) before the final head, not an endless series.
_MOST_INTERIM: Final = 16
_CHUNK_LINE_BYTES: Final = 4096
_TRAILER_BYTES: Final = 65_536
_LENGTH_ALONE: Final = frozenset((b"content-length",))
# An application counts `Keep-Alive: timeout` from its answer, which is a while ago when we look.
_KEPT_MARGIN_SECONDS: Final = 0.5


class UpstreamConnection(asyncio.Protocol):
    """A connection of an `UpstreamPool`.

    Attributes:
        deadline: when the present state has lasted too long (see `expire`).
        idle_seconds: how long it may rest: as configured, or less if the application says so.
        is_stalled: whether the upstream does not keep up with the request's body.
        retires: instant from which it is not used again.
        served: exchanges completed on it; 0 for a fresh one.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_exchange",
        "_interim",
        "_is_told_end",
        "_poll",
        "_pool",
        "_reusable",
        "_searched",
        "_transport",
        "deadline",
        "idle_seconds",
        "is_stalled",
        "retires",
        "served",
    )

    def __init__(self, pool: "UpstreamPool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._exchange: Exchange | None = None
        self._body: BodyReader | None = None
        self._buffer = b""
        self._searched = 0
        self._interim = 0
        self._is_told_end = False
        self._reusable = False
        self.deadline = NEVER
        self.idle_seconds = pool.settings.idle_seconds
        self.retires = pool.now() + pool.settings.connection_seconds
        self.is_stalled = False
        self.served = 0

    # -- Towards the exchange ---------------------------------------------------------------

    @property
    def exchange(self) -> "Exchange | None":
        """The one it carries."""
        return self._exchange

    @property
    def is_open(self) -> bool:
        """Whether it can still be written to."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """Whether it can be used again: open, and nothing has arrived that is not read yet.

        One look at the socket (0.4 µs): the next request meets neither bytes nobody asked for
        (PROMISES 6) nor the close of an upstream that had enough of us.
        """
        transport = self._transport
        return transport is not None and not transport.is_closing() and not self._poll.poll(0)

    @property
    def unsent(self) -> int:
        """Octets that were written and have not left."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def start(self, exchange: "Exchange", head: bytes) -> None:
        """Begin an exchange by sending its head (perhaps with the first part of its body)."""
        self._exchange = exchange
        self._body = None
        self._interim = 0
        self.deadline = self._pool.now() + self._pool.settings.head_seconds
        transport = self._transport
        if transport is not None:
            transport.write(head)

    def write(self, payload: bytes) -> None:
        """Send a part of the request's body, already framed."""
        if self.is_open:
            cast("asyncio.Transport", self._transport).write(payload)
            if self._body is None:
                # The time to answer counts from the end of the request.
                self.deadline = self._pool.now() + self._pool.settings.head_seconds

    def pause(self) -> None:
        """The client does not keep up: stop reading, and do not blame the upstream for it."""
        if self.is_open:
            cast("asyncio.Transport", self._transport).pause_reading()
            self.deadline = NEVER

    def resume(self) -> None:
        """The client reads again, or the exchange may go on."""
        if self.is_open:
            cast("asyncio.Transport", self._transport).resume_reading()
            settings = self._pool.settings
            seconds = settings.head_seconds if self._body is None else settings.body_idle_seconds
            self.deadline = self._pool.now() + seconds

    def discard(self) -> None:
        """End the connection now; its exchange, if any, is not told.

        Ended by a reset: an upstream must not take a cut request for a whole one (a request's
        body is never read until the close, but a reset also frees the upstream's work at once).
        """
        self._exchange = None
        transport = self._transport
        if transport is not None and not transport.is_closing():
            reset(transport)
        self._pool.forget(self)

    def hand_over(self, octets: bytes) -> Handed:
        """Give the connection away, and what was read of it: it is no longer HTTP."""
        transport = cast("asyncio.Transport", self._transport)
        self._exchange = None
        self._transport = None
        self._pool.forget(self)
        return Handed(transport, octets, _nothing)

    # -- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            self._poll.register(sock.fileno(), select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes of a response, or bytes nobody asked for."""
        exchange = self._exchange
        body = self._body
        if exchange is None:
            self._pool.count_unsolicited()
            self.discard()
        elif body is None:
            self._read_head(exchange, data)
        else:
            self._read_body(exchange, body, data)

    def eof_received(self) -> None:
        """asyncio: the upstream has sent all it will; the transport closes itself.

        Over TLS only a close_notify gets here (RFC 8446 section 6.1): without one, the end of a
        body that lasts until the close could be anybody's doing.
        """
        self._is_told_end = True

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection is gone."""
        exchange = self._exchange
        self._exchange = None
        self._transport = None
        self._pool.forget(self)
        if exchange is None:
            return
        if self._body is None:
            untouched = not self._buffer and not self._interim
            exchange.upstream_lost(may_retry=untouched and self.served > 0)
        elif isinstance(self._body, UntilCloseBody) and error is None and self._is_told_end:
            exchange.relay(b"", ended=True)
        else:
            exchange.fail(Reason.UPSTREAM_CLOSED)

    def pause_writing(self) -> None:
        """asyncio: the upstream does not keep up with the request's body."""
        self.is_stalled = True
        if self._exchange is not None:
            self._exchange.hold_client()

    def resume_writing(self) -> None:
        """asyncio: it does again."""
        self.is_stalled = False
        if self._exchange is not None:
            self._exchange.release_client()

    def expire(self) -> None:
        """Sweeper: the deadline passed: idle too long, or an answer that does not come."""
        exchange = self._exchange
        self.discard()
        if exchange is not None:
            exchange.fail(Reason.UPSTREAM_TIMEOUT)

    # -- Reading a response -----------------------------------------------------------------

    def _read_head(self, exchange: "Exchange", data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        pool = self._pool
        end = data.find(b"\r\n\r\n", self._searched)
        if end < 0 or end > pool.settings.head_bytes:
            self._await_rest_of_head(exchange, data)
            return
        self._buffer = b""
        self._searched = 0
        try:
            answer = pool.reader.read(data[: end + 4])
            length = response_length(exchange.head.method, answer.status, answer.minor, answer)
        except UpstreamMalformedError:
            self._break(exchange, Reason.UPSTREAM_MALFORMED)
            return
        rest = data[end + 4 :]
        if answer.status < 200:
            self._read_interim(exchange, answer, rest)
            return
        self._judge_reuse(answer, length)
        if pool.fuse is not None:
            pool.answered(exchange, answer.status)
        if length == len(rest):
            # All of it is here, as of most answers.
            exchange.begin_response(answer, length)
            self._complete(exchange, rest)
            return
        self._body = body = _body_of(length)
        exchange.begin_response(answer, length)
        self._read_body(exchange, body, rest)

    def _await_rest_of_head(self, exchange: "Exchange", data: bytes) -> None:
        most = self._pool.settings.head_bytes
        if len(data) > most or b"\n\n" in data[self._searched :]:
            # Too long; or lines end in LF alone, and this head would never be complete.
            self._break(exchange, Reason.UPSTREAM_MALFORMED)
            return
        self._buffer = data
        self._searched = max(0, len(data) - 3)

    def _read_interim(self, exchange: "Exchange", answer: ResponseHead, rest: bytes) -> None:
        self._interim += 1
        if answer.status == 101 and exchange.head.upgrade is not None:
            # Its body has begun, as far as the circuit breaker is concerned: it was answered.
            if self._pool.fuse is not None:
                self._pool.answered(exchange, answer.status)
            exchange.switch(answer, rest)
            return
        if answer.status == 101 or self._interim > _MOST_INTERIM:
            # Nobody asked for an upgrade: what follows would not be HTTP.
            self._break(exchange, Reason.UPSTREAM_MALFORMED)
            return
        exchange.relay_interim(answer)
        if rest and self._exchange is exchange:
            self._read_head(exchange, rest)

    def _judge_reuse(self, answer: ResponseHead, length: int | None) -> None:
        """Whether, and how long, the connection may serve again once `answer` is over."""
        of_message = answer.names.of_message
        self._reusable = answer.minor == 1 and length != UNTIL_CLOSE
        if length and of_message == _LENGTH_ALONE:
            return
        if length == 0 and (
            b"transfer-encoding" in of_message or (answer.value(b"content-length") or b"0") != b"0"
        ):
            # A body is announced where there is none (HEAD, 304). Should it come all the same, it
            # must not be the next response.
            self._reusable = False
        elif b"connection" in of_message:
            options = tokens(answer.values(b"connection"))
            self._reusable = length != UNTIL_CLOSE and (
                b"close" not in options and (answer.minor == 1 or b"keep-alive" in options)
            )
        if b"keep-alive" in of_message:
            kept = kept_seconds(answer.value(b"keep-alive") or b"") - _KEPT_MARGIN_SECONDS
            self.idle_seconds = min(self._pool.settings.idle_seconds, kept)
            self._reusable = self._reusable and kept > 0

    def _read_body(self, exchange: "Exchange", body: BodyReader, data: bytes) -> None:
        if data and body.ended:
            payload, self._reusable = b"", False
        else:
            try:
                payload = body.feed(data) if data else b""
            except (BodyMalformedError, BodyTooLargeError):
                self._break(exchange, Reason.UPSTREAM_MALFORMED)
                return
        if not body.ended:
            self.deadline = self._pool.now() + self._pool.settings.body_idle_seconds
            exchange.relay(payload, ended=False)
            return
        if body.rest:
            self._reusable = False
        self._complete(exchange, payload)

    def _complete(self, exchange: "Exchange", payload: bytes) -> None:
        """The answer is here to its last part, `payload`."""
        self._exchange = None
        self.served += 1
        transport = self._transport
        if (
            self._reusable
            and exchange.is_request_sent
            and transport is not None
            and not transport.get_write_buffer_size()
        ):
            self._pool.give_back(self)
        else:
            self.discard()
        exchange.relay(payload, ended=True)

    def _break(self, exchange: "Exchange", reason: Reason) -> None:
        self.discard()
        exchange.fail(reason)


def _body_of(length: int | None) -> BodyReader:
    if length is None:
        return ChunkedBody(_CHUNK_LINE_BYTES, _TRAILER_BYTES)
    return UntilCloseBody() if length == UNTIL_CLOSE else LengthBody(length)


def _nothing() -> None:
    """Nobody counts connections that were given away."""


def reset(transport: asyncio.Transport) -> None:
    """End with RST: `abort()` alone sends FIN, which is a clean end for some bodies."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
