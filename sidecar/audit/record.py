"""One audit record. Queries and fields are left out: they hold secrets (PROMISES 12)."""

from typing import Protocol

import msgspec

from sidecar.authorize.permit import Permit
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer


class Auditable(Protocol):
    """What a record is made of: an exchange that is over (`forward.exchange`)."""

    @property
    def head(self) -> RequestHead:
        """The request."""

    @property
    def peer(self) -> Peer:
        """The client's connection."""

    @property
    def request_id(self) -> bytes:
        """Its id."""

    @property
    def trace(self) -> bytes:
        """Its traceparent; ``b""`` for none."""

    @property
    def permit(self) -> Permit | None:
        """What allowed it."""

    @property
    def denial(self) -> Denial | None:
        """Why it was refused or failed."""

    @property
    def status(self) -> int:
        """Of the answer."""

    @property
    def bytes_in(self) -> int:
        """From the client."""

    @property
    def bytes_out(self) -> int:
        """To the client."""


class Closed(Auditable, Protocol):
    """What the record of a WebSocket's end is made of (`relay.session`)."""

    @property
    def cause(self) -> str:
        """How it ended."""

    @property
    def code(self) -> int:
        """The close code of its client; 1006 for none."""

    @property
    def messages(self) -> tuple[int, int]:
        """Of the client, of the upstream."""


class Record(msgspec.Struct, omit_defaults=True, gc=False):
    """What is kept of one exchange; written as one JSON object a line.

    `gc=False`: many wait to be written, and none refers to what could refer to it.

    Attributes:
        time: wall clock at its end, seconds.
        request_id: as in the answer and upstream.
        outcome: ``permit``, ``deny`` or ``fault`` (the upstream's or the stores').
        reason: stable code.
        status: of the answer; 0 when the client left before one.
        method: the method.
        path: canonical path, without the query.
        host: the host asked for.
        route: name of the route.
        tenant: of the principal.
        subject: the principal.
        session: public id of the session.
        via: role path of the rule that decided.
        trace_id: of the trace that it belongs to, as the upstream got it; left out where nobody
            else knows of one.
        client: address of the peer.
        bytes_in: payload of the request.
        bytes_out: payload of the response.
        milliseconds: from the complete head to the end; of a WebSocket's end, since its beginning.
        closed: how a WebSocket ended; left out in the record of its handshake (status 101), whose
            request id is the same.
        code: its close code; 1006 for none.
        messages_in: of its client.
        messages_out: of its upstream.
    """

    time: float
    request_id: str
    outcome: str
    reason: str
    status: int
    method: str
    path: str
    host: str
    client: str
    milliseconds: float
    route: str = ""
    tenant: str = ""
    subject: str = ""
    session: str = ""
    via: tuple[str, ...] = ()
    trace_id: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    closed: str = ""
    code: int = 0
    messages_in: int = 0
    messages_out: int = 0


def record_of(exchange: Auditable, time: float, seconds: float) -> Record:
    """The record of an exchange that is over.

    Args:
        exchange: the exchange.
        time: wall clock, seconds.
        seconds: how long it took.
    """
    head, permit, denial = exchange.head, exchange.permit, exchange.denial
    outcome, reason = "permit", ""
    route = principal = origin = None
    if permit is not None:
        route, principal, origin = permit.route, permit.principal, permit.origin
        reason = permit.reason
    elif denial is not None:
        route, principal, origin = denial.route, denial.principal, denial.origin
    if denial is not None:
        reason = denial.reason
        outcome = "fault" if permit is not None or denial.status >= 500 else "deny"
    tenant = subject = session = ""
    if principal is not None:
        tenant, subject, session = principal.tenant, principal.subject, principal.session_id
    # By position, in the order of the class: by name it takes 0.5 µs, and so 0.1.
    return Record(
        time,
        exchange.request_id.decode("ascii"),
        outcome,
        reason,
        exchange.status,
        head.method,
        head.path,
        head.host,
        exchange.peer.address,
        # Whole microseconds; `round` to as many places takes four times as long.
        int(seconds * 1e6 + 0.5) / 1000,
        "" if route is None else route.name,
        tenant,
        subject,
        session,
        () if origin is None else origin.path,
        exchange.trace[3:35].decode("ascii"),
        exchange.bytes_in,
        exchange.bytes_out,
    )


def record_of_close(session: Closed, time: float, seconds: float) -> Record:
    """The record of a WebSocket that has ended.

    Args:
        session: the WebSocket.
        time: wall clock, seconds.
        seconds: how long it was open.
    """
    record = record_of(session, time, seconds)
    if session.denial is not None and session.denial.status < 500:
        # It was permitted once; now it was not.
        record.outcome = "deny"
    record.closed = session.cause
    record.code = session.code
    record.messages_in, record.messages_out = session.messages
    return record
