"""The span of a WebSocket, from its opening to its end, and the journal it is written from.

It begins a trace of its own and links to the handshake's: a trace is put together, sampled and
shown as one piece, and a connection may last for days after the request that opened it was told.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from sidecar.clock import stopwatch
from sidecar.telemetry import names
from sidecar.telemetry.request_spans import Recorded
from sidecar.telemetry.spans import Attributes, Event, Kind, Link, Span, server_id

# Of each connection; what is refused after that is counted.
_MOST_EVENTS: Final = 32


class Journal:
    """What happened on one WebSocket.

    Attributes:
        judged: messages that rules were asked about.
        judging_seconds: how long that took, together.
        refused: messages that were refused.
        renewals: fresh credentials that were shown, accepted or not.
        entries: the first of these: (reading of the stopwatch, event, its attributes).
    """

    __slots__ = ("entries", "judged", "judging_seconds", "refused", "renewals")

    def __init__(self) -> None:
        self.judged = 0
        self.judging_seconds = 0.0
        self.refused = 0
        self.renewals = 0
        self.entries: list[tuple[float, str, Attributes]] = []

    def add_judging(self, seconds: float) -> None:
        """Rules were asked about a message."""
        self.judged += 1
        self.judging_seconds += seconds

    def add_refusal(self, direction: str, label: str) -> None:
        """A message was refused.

        Args:
            direction: who sent it: ``client`` or ``server``.
            label: why, of a small set.
        """
        self.refused += 1
        if self.refused <= _MOST_EVENTS:
            what: Attributes = {names.DIRECTION: direction, names.LABEL: label}
            self.entries.append((stopwatch(), names.MESSAGE_REFUSED, what))

    def add_renewal(self, reason: str = "") -> None:
        """A fresh credential was shown; `reason` says why it was refused."""
        self.renewals += 1
        if self.renewals > _MOST_EVENTS:
            return
        if reason:
            event = names.REAUTHENTICATION_REFUSED
            self.entries.append((stopwatch(), event, {names.REASON: reason}))
        else:
            self.entries.append((stopwatch(), names.REAUTHENTICATED, {}))


class Closed(Recorded, Protocol):
    """The audit record of a WebSocket's end."""

    closed: str
    code: int
    messages_in: int
    messages_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How a WebSocket went, beside what is recorded of it.

    Attributes:
        handshake: the traceparent that the upstream got with it.
        trace_id: of the connection.
        span_id: the same.
        is_sampled: whether the handshake was.
        template: of the route.
        begun: reading of the stopwatch when it was opened.
        ended: when both its ends were gone.
        ended_ns: the same moment, in nanoseconds since the epoch.
        shows_principal: whether the audit shows who it was.
    """

    handshake: bytes
    trace_id: int
    span_id: int
    is_sampled: bool
    template: str
    begun: float
    ended: float
    ended_ns: int
    shows_principal: bool

    def at(self, reading: float) -> int:
        """A reading of the stopwatch as nanoseconds since the epoch."""
        return self.ended_ns - round((self.ended - reading) * 1e9)


def connection_span(record: Closed, connection: Connection, journal: Journal) -> Span:
    """The span of a WebSocket that has ended."""
    attributes: Attributes = {
        names.TEMPLATE: connection.template,
        names.ROUTE: record.route,
        names.CLIENT_ADDRESS: record.client,
        names.REQUEST_ID: record.request_id,
        names.OUTCOME: record.outcome,
        names.REASON: record.reason,
        names.CLOSED: record.closed,
        names.CLOSE_CODE: record.code,
        names.MESSAGES_IN: record.messages_in,
        names.MESSAGES_OUT: record.messages_out,
        names.BYTES_IN: record.bytes_in,
        names.BYTES_OUT: record.bytes_out,
        names.MESSAGES_REFUSED: journal.refused,
    }
    if journal.judged:
        attributes[names.MESSAGES_JUDGED] = journal.judged
        attributes[names.JUDGING_SECONDS] = round(journal.judging_seconds, 6)
        attributes[names.JUDGING_MEAN_SECONDS] = round(journal.judging_seconds / journal.judged, 9)
    if connection.shows_principal and record.subject:
        attributes[names.TENANT] = record.tenant
        attributes[names.SUBJECT] = record.subject
        if record.session:
            attributes[names.SESSION] = record.session
    error = record.reason if record.outcome != "permit" else None
    if error is not None:
        attributes[names.ERROR_TYPE] = error
    events = [Event(name, connection.at(at), what) for at, name, what in journal.entries]
    closed: Attributes = {names.CLOSED: record.closed, names.CLOSE_CODE: record.code}
    events.append(Event(names.CONNECTION_CLOSED, connection.ended_ns, closed))
    return Span(
        f"{names.CONNECTION_SPAN} {connection.template}",
        # Neither side of a call: the handshake was one, with spans of its own.
        Kind.INTERNAL,
        connection.trace_id,
        connection.span_id,
        0,
        connection.at(connection.begun),
        connection.ended_ns,
        attributes,
        is_sampled=connection.is_sampled,
        error=error,
        events=events,
        links=[_link(connection.handshake)],
    )


def _link(handshake: bytes) -> Link:
    client_id = int(handshake[36:52], 16)
    return Link(
        int(handshake[3:35], 16),
        server_id(client_id),
        bool(handshake[-1] & 1),
        {names.LINK: "handshake"},
    )
