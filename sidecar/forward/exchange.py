"""One request and its response, between the connection of a client and one of the upstream.

An exchange is opened with a `Permit` and in no other way (`forward`); without one all it can do
is refuse. Bodies stream both ways under back-pressure: nothing here grows with a body. Hot path.
"""

from typing import TYPE_CHECKING, Final

from sidecar.authorize.permit import Permit
from sidecar.clock import stopwatch
from sidecar.forward.forwarder import Client, Forwarder, Guard
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.parse.body import LAST_CHUNK, chunk
from sidecar.parse.framing import UNTIL_CLOSE
from sidecar.parse.response import ResponseHead
from sidecar.telemetry.request_spans import Loads

if TYPE_CHECKING:
    from sidecar.forward.connection import UpstreamConnection
    from sidecar.forward.pool import UpstreamPool, Waiting

# What an upstream can do to a request that it has: its circuit breaker hears of it.
_FAULTS: Final = frozenset(
    (
        Reason.UPSTREAM_CLOSED,
        Reason.UPSTREAM_MALFORMED,
        Reason.UPSTREAM_TIMEOUT,
    )
)
# Methods that may be sent a second time (RFC 9110 section 9.2.1).
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))


class Exchange:
    """One request-response exchange.

    Attributes:
        head: the request's head.
        peer: the client's connection.
        request_id: its id.
        started: reading of the stopwatch when the head was complete.
        permit: what allowed it, once decided.
        denial: why it was refused or failed, where it was.
        fields: more fields of the answer, whoever gives it, each ended by CRLF.
        trace: the traceparent for the upstream; ``b""`` before it was forwarded.
        loads: what its decision waited for; None for nothing.
        asked: reading of the stopwatch when it was forwarded; 0 where it never was, and this one
            and the next two where nothing is recorded.
        sent: when the upstream was sent the head.
        answered: when it began to answer.
        status: status that the client got; 0 when it got none.
        bytes_in: payload of the request so far.
        bytes_out: payload of the response so far.
        is_request_sent: whether the request is complete.
        is_over: whether nothing more will happen.
    """

    __slots__ = (
        "_chunks_out",
        "_client",
        "_connection",
        "_early",
        "_forwarder",
        "_guard",
        "_head_out",
        "_is_halted",
        "_is_held",
        "_is_stalled",
        "_keep_alive",
        "_pool",
        "_retried",
        "_waiting",
        "answered",
        "asked",
        "bytes_in",
        "bytes_out",
        "denial",
        "fields",
        "head",
        "is_over",
        "is_request_sent",
        "loads",
        "peer",
        "permit",
        "request_id",
        "sent",
        "started",
        "status",
        "trace",
    )

    def __init__(
        self,
        forwarder: Forwarder,
        client: Client,
        peer: Peer,
        head: RequestHead,
        started: float,
    ) -> None:
        self.head = head
        self.peer = peer
        self.started = started
        self.request_id = forwarder.identifiers.request_id(head, peer)
        self.permit: Permit | None = None
        self.denial: Denial | None = None
        self.fields = b""
        self.trace = b""
        self.loads: Loads | None = None
        self.asked = self.sent = self.answered = 0.0
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.is_request_sent = head.body_length == 0
        self.is_over = False
        self._forwarder = forwarder
        self._client = client
        self._connection: UpstreamConnection | None = None
        self._early: tuple[bytes, ...] = ()
        self._guard: Guard | None = None
        self._is_halted = False
        self._is_held = False
        self._is_stalled = False
        self._head_out = b""
        self._chunks_out = False
        # What a client sends behind a handshake is meant for a WebSocket, whatever becomes of it.
        self._keep_alive = head.keep_alive and head.upgrade is None
        # Who was asked for a connection: its circuit breaker hears what becomes of this.
        self._pool: UpstreamPool | None = None
        self._retried = False
        self._waiting: Waiting | None = None

    # -- Decided ----------------------------------------------------------------------------

    def forward(self, permit: Permit) -> None:
        """Send the request to the upstream of the permitted route."""
        self.permit = permit
        propagation = self._forwarder.propagation
        self.trace = propagation.begin(
            self.head, is_trusted=self.peer.is_trusted, spans=2 if self.loads is None else 3
        )
        if propagation.is_recording:
            self.asked = stopwatch()
        if self.head.upgrade is not None:
            self._ask_to_switch(permit)
            return
        self._pool = self._forwarder.pools[permit.route.upstream]
        self._pool.serve(self)

    def _ask_to_switch(self, permit: Permit) -> None:
        switches, pools = self._forwarder.switches, self._forwarder.handshake_pools
        if switches is None:
            detail = "nobody relays WebSockets here"
            self.refuse(Denial(Reason.UNSUPPORTED_UPGRADE, detail, route=permit.route))
        elif self._forwarder.is_draining:
            self.fail(Reason.DRAINING)
        elif switches.is_full or permit.route.upstream not in pools:
            self.fail(Reason.OVERLOADED)
        else:
            self._pool = pools[permit.route.upstream]
            self._pool.serve(self)

    def refuse(self, denial: Denial) -> None:
        """Answer with the denial; if a part of the response has left, break it off visibly."""
        if self.is_over:
            return
        self.denial = denial
        self._leave_pool()
        if self.status and not self._head_out:
            self._end(keep_alive=False, broken=True)
            return
        keep_alive = self._may_go_on()
        self.status = denial.status
        self._client.write(
            self._forwarder.answers.refusal(
                denial, self.head, self.request_id, keep_alive=keep_alive, fields=self.fields
            )
        )
        self._end(keep_alive=keep_alive)

    def answer_empty(self, permit: Permit) -> None:
        """Answer 204 with `fields`: what is permitted is nothing the upstream has to do with."""
        self.permit = permit
        keep_alive = self._may_go_on()
        self.status = 204
        self._client.write(
            self._forwarder.answers.empty(
                self.head, self.request_id, keep_alive=keep_alive, fields=self.fields
            )
        )
        self._end(keep_alive=keep_alive)

    def _may_go_on(self) -> bool:
        return self._keep_alive and self.is_request_sent and not self._forwarder.is_draining

    def fail(self, reason: Reason, *, retry_after: int = 0, is_chance: bool = False) -> None:
        """The upstream failed it, or there was no connection to be had.

        Args:
            reason: which of both.
            retry_after: seconds that the client is told; 0 for none.
            is_chance: whether that says nothing about the upstream.
        """
        permit = self.permit
        if permit is None:
            self.refuse(Denial(reason))
            return
        # An upstream that waits for the rest of a request is at the mercy of its client.
        is_asked = self._connection is not None and self.is_request_sent
        self._drop_connection()
        if is_asked and self._pool and reason in _FAULTS and not self.status and not is_chance:
            self._pool.failed(self, reason)
        self.refuse(
            Denial(reason, route=permit.route, principal=permit.principal, retry_after=retry_after)
        )

    @property
    def resends(self) -> int:
        """How often the request was sent once more."""
        return int(self._retried)

    # -- From the client --------------------------------------------------------------------

    def be_last(self) -> None:
        """The client's connection ends with this exchange; its answer will say so."""
        self._keep_alive = False

    def feed(self, payload: bytes, *, ended: bool) -> None:
        """A part of the request's body, as payload; `ended` with the last."""
        self.bytes_in += len(payload)
        self.is_request_sent = ended
        if self.is_over:
            return
        framed = payload
        if self.head.body_length is None:
            framed = chunk(payload) + (LAST_CHUNK if ended else b"")
        if self._connection is not None and (self._guard is None or self._guard.may_pass()):
            self._connection.write(framed)
        elif framed and not self.is_over:
            # Not decided, not connected or not permitted yet: keep this much and read no more.
            self._early = (*self._early, framed)
            self.hold_client()
        if ended and self._pool is not None:
            self._pool.uploaded(self)

    @property
    def kept_bytes(self) -> int:
        """Octets of the request's body that the upstream has not taken yet."""
        unsent = 0 if self._connection is None else self._connection.unsent
        return unsent + sum(map(len, self._early))

    def client_lost(self) -> None:
        """The client went away: nobody waits for the answer."""
        if self.is_over:
            return
        self._drop_connection()
        self._leave_pool()
        self._end(keep_alive=False)

    def client_paused(self) -> None:
        """The client does not keep up with the response."""
        self._is_stalled = True
        if self._connection is not None:
            self._connection.pause()
            if self._pool is not None:
                self._pool.stalls.begin(self)

    def lags(self) -> bool:
        """Whether its client takes next to nothing of the answer."""
        return self._client.lags()

    def client_resumed(self) -> None:
        """The client reads again."""
        self._end_stall()
        self._is_stalled = False
        if self._connection is not None and not self._is_halted:
            self._connection.resume()

    # -- From its guard ---------------------------------------------------------------------

    @property
    def is_guarded(self) -> bool:
        """Whether a guard is asked before anything goes on."""
        return self._guard is not None

    def guard_by(self, guard: Guard) -> None:
        """Ask `guard` from now on."""
        self._guard = guard

    def hold(self) -> None:
        """Take no more from the upstream until `release`; of the request not much."""
        self._is_halted = True
        if self._connection is not None:
            self._connection.pause()

    def release(self) -> None:
        """Take more again, of both sides."""
        self._is_halted = False
        connection = self._connection
        if connection is None:
            return
        if not self._is_stalled:
            connection.resume()
        if self._early:
            early, self._early = self._early, ()
            connection.write(b"".join(early))
        if not connection.is_stalled:
            self.release_client()

    def break_off(self, denial: Denial) -> None:
        """The response is not permitted any more: an abort, never a clean end (PROMISES 15)."""
        self._drop_connection()
        self.refuse(denial)

    # -- From the upstream ------------------------------------------------------------------

    def queued(self, waiting: "Waiting") -> None:
        """All connections are busy: this is our place in the queue."""
        self._waiting = waiting

    def start_on(self, connection: "UpstreamConnection") -> None:
        """A connection is there: send what there is of the request."""
        permit = self.permit
        if permit is None:  # unreachable: only `forward` asks for a connection
            raise AssertionError("no permit, no upstream")
        if self._guard is not None and not self._guard.may_pass():
            self._decline(connection)
            return
        forwarder = self._forwarder
        self._connection = connection
        self._waiting = None
        if self.asked:
            self.sent = stopwatch()
        head, identity = self.head, forwarder.identity_of(permit)
        if head.upgrade is not None and forwarder.switches is not None:
            head, handshake = forwarder.switches.request(self)
            identity += handshake
        octets = forwarder.request_fields.compose(
            head,
            permit,
            self.peer,
            identity=identity,
            request_id=self.request_id,
            trace=self.trace,
            host=forwarder.host_of(head, permit.route.upstream),
        )
        if self._early:
            octets = b"".join((octets, *self._early))
            self._early = ()
        # Before the write: if the upstream does not keep up, it holds the client again.
        if self._is_held:
            self.release_client()
        connection.start(self, octets)

    def _decline(self, connection: "UpstreamConnection") -> None:
        """It waited for so long that it is asked about, and may not go on, or not yet."""
        if self._pool is not None:
            self._pool.give_back(connection)
        if not self.is_over:
            self.fail(Reason.STORES_UNAVAILABLE)

    def relay_interim(self, answer: ResponseHead) -> None:
        """A 1xx on its way; HTTP/1.0 clients do not know them (RFC 9110 section 15.2)."""
        if self.head.minor == 0 or (answer.status == 100 and not self.head.expects_continue):
            return
        if self._guard is None or self._guard.may_pass():
            self._client.write(self._forwarder.response_fields.interim(answer))
        if answer.status == 100 and not self._is_held:
            self._client.release_body()

    def switch(self, answer: ResponseHead, octets: bytes) -> None:
        """The upstream says that it is no longer HTTP: 101, with the `octets` behind it.

        That is an answer to a handshake and to nothing else (RFC 9110 section 15.2.2).
        """
        switches, connection = self._forwarder.switches, self._connection
        if switches is None or connection is None or self.head.upgrade is None:
            self.fail(Reason.UPSTREAM_MALFORMED)
            return
        fields = switches.accept(self, answer)
        if fields is None:
            self.fail(Reason.UPSTREAM_MALFORMED)
            return
        if switches.is_full:
            # Others were quicker; the upstream sees a connection that is lost.
            self.fail(Reason.OVERLOADED)
            return
        client = self._client.hand_over()
        if client is None:
            self.client_lost()
            return
        self._connection = None
        self._end_stall()
        upstream = connection.hand_over(octets)
        self.status = answer.status
        if self.asked:
            self.answered = stopwatch()
        client.transport.write(
            self._forwarder.response_fields.switching(
                answer, self.request_id, fields=self.fields + fields
            )
        )
        self.is_over = True
        try:
            self._forwarder.ended(self)
            switches.begin(self, answer, client, upstream)
        except Exception:
            # Nobody would ever look at either again.
            client.transport.abort()
            upstream.transport.abort()
            raise

    def begin_response(self, answer: ResponseHead, length: int | None) -> None:
        """The final head; it is written together with the first part of the body."""
        self.status = answer.status
        if self.asked:
            self.answered = stopwatch()
        if length is None or length == UNTIL_CLOSE:
            self._chunks_out = self.head.minor == 1
            length = None if self._chunks_out else UNTIL_CLOSE
        # A request that is not complete leaves no place where the next one could begin.
        self._keep_alive = (
            self._keep_alive
            and self.is_request_sent
            and length != UNTIL_CLOSE
            and not self._forwarder.is_draining
        )
        self._head_out = self._forwarder.response_fields.compose(
            answer,
            self.head,
            length,
            self.request_id,
            keep_alive=self._keep_alive,
            route=None if self.permit is None else self.permit.route,
            fields=self.fields,
        )

    def relay(self, payload: bytes, *, ended: bool) -> None:
        """A part of the response's body; `ended` with the last."""
        if ended:
            self._connection = None
            if self._is_stalled:
                self._end_stall()
        if self.is_over or (
            self._guard is not None and not self._guard.admits(payload, ended=ended)
        ):
            return
        self.bytes_out += len(payload)
        if self._chunks_out:
            payload = chunk(payload) + LAST_CHUNK if ended else chunk(payload)
        if self._head_out:
            payload = self._head_out + payload
            self._head_out = b""
        if payload:
            self._client.write(payload)
        if ended:
            self._end(keep_alive=self._keep_alive)

    def upstream_lost(self, *, may_retry: bool) -> None:
        """The upstream closed before a response (RFC 9112 section 9.3.1, PROMISES 20).

        Args:
            may_retry: nothing came back on a connection that had served before, so that the close
                may have crossed the request.
        """
        if self.is_over:
            self._connection = None
            return
        replayable = self.head.method in _SAFE and self.head.body_length == 0
        if may_retry and replayable and not self._retried and self._pool is not None:
            self._connection = None
            self._retried = True
            self._pool.serve(self, fresh=True)
            return
        self.fail(Reason.UPSTREAM_CLOSED, is_chance=may_retry and not replayable)

    def hold_client(self) -> None:
        """Read no more of the body until `release_client`."""
        if not self._is_held and not self.is_request_sent:
            self._is_held = True
            self._client.hold_body()

    def release_client(self) -> None:
        """Read on."""
        if self._is_held:
            self._is_held = False
            if not self.is_over:
                self._client.release_body()

    # -- The end ----------------------------------------------------------------------------

    def _drop_connection(self) -> None:
        connection = self._connection
        self._connection = None
        self._end_stall()
        if connection is not None:
            connection.discard()

    def _end_stall(self) -> None:
        """No connection of the upstream is held for a client that does not keep up."""
        if self._is_stalled and self._pool is not None:
            self._pool.stalls.end(self)

    def _leave_pool(self) -> None:
        if self._pool is not None:
            self._pool.left(self)

    def _end(self, *, keep_alive: bool, broken: bool = False) -> None:
        self.is_over = True
        self._early = ()
        if self._waiting is not None:
            self._waiting.leave()
            self._waiting = None
        if not self.is_request_sent and self._pool is not None:
            self._pool.uploaded(self)
        if self._guard is not None:
            self._guard.left()
        self._forwarder.ended(self)
        if broken:
            self._client.abort()
        else:
            self._client.exchange_ended(keep_alive=keep_alive)
