"""The spans of a request that is over: ours, the upstream's, and one for look-ups it waited for.

Pure; called for what is kept only. Everything that is told of a request is in its audit record
already, so queries, fields, bodies and credentials cannot get here (PROMISES 12).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sidecar.clock import stopwatch
from sidecar.telemetry import names
from sidecar.telemetry.spans import Attributes, Event, Kind, Span, load_id, server_id

# RFC 9110 section 9 and RFC 5789; CONNECT and TRACE are refused before they are known.
_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY")
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LEFT: Final = "client-lost"


class Recorded(Protocol):
    """What may be told of a request (`audit.record.Record`)."""

    request_id: str
    outcome: str
    reason: str
    status: int
    method: str
    path: str
    host: str
    client: str
    route: str
    tenant: str
    subject: str
    session: str
    via: tuple[str, ...]
    bytes_in: int
    bytes_out: int


@dataclass(slots=True)
class Loads:
    """Facts that a decision had to wait for.

    Attributes:
        begun: reading of the stopwatch when it began to wait.
        ended: when it had them.
        found: (kind of fact, tier that had it, reading of the stopwatch then, seconds it took).
    """

    begun: float = 0.0
    ended: float = 0.0
    found: list[tuple[str, str, float, float]] = field(default_factory=list)

    def add(self, kind: str, tier: str, begun: float) -> None:
        """A fact was found; `begun` is the reading of the stopwatch when it was asked for."""
        now = stopwatch()
        self.found.append((kind, tier, now, now - begun))


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream as spans name it.

    Attributes:
        name: of the upstream.
        address: its host, or the path of its socket.
        port: None for a unix socket.
        base: ``http://host:port``, to be followed by a path; ``""`` for a unix socket.
    """

    name: str
    address: str
    port: int | None
    base: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a request went, beside what is recorded of it. Times are readings of the stopwatch.

    Attributes:
        traceparent: that the upstream got, or would have got.
        parent_id: the caller's span; 0 for none.
        scheme: as the client used it.
        authority: Host, with the port where it has one.
        minor: minor version of HTTP.
        template: of the route; ``""`` for none.
        begun: the head was complete.
        ended: it was over.
        ended_ns: the same moment, in nanoseconds since the epoch.
        asked: the upstream was to be asked; 0 if it never was.
        sent: it was sent the head.
        answered: it began to answer.
        resends: how often it was sent once more.
        target: the upstream; None where it is ourselves.
        loads: what the decision waited for; None for nothing.
        is_broken_off: whether the response ended before its end.
        shows_principal: whether the audit shows who asked.
    """

    traceparent: bytes
    parent_id: int
    scheme: str
    authority: str
    minor: int
    template: str
    begun: float
    ended: float
    ended_ns: int
    asked: float = 0.0
    sent: float = 0.0
    answered: float = 0.0
    resends: int = 0
    target: Target | None = None
    loads: Loads | None = None
    is_broken_off: bool = False
    shows_principal: bool = False

    def at(self, reading: float) -> int:
        """A reading of the stopwatch as nanoseconds since the epoch."""
        return self.ended_ns - round((self.ended - reading) * 1e9)


def count_of(*, is_asked: bool, loads: Loads | None) -> int:
    """How many spans a request has."""
    return 1 + is_asked + (loads is not None)


def request_spans(record: Recorded, course: Course) -> list[Span]:
    """All of them, the server's first."""
    trace_id, client_id = _ids(course.traceparent)
    spans = [_server(record, course, trace_id, server_id(client_id))]
    if course.asked and course.target is not None:
        spans.append(_client(record, course, course.target, trace_id, client_id))
    if course.loads is not None:
        spans.append(_load(course, course.loads, trace_id, client_id))
    is_sampled = bool(course.traceparent[-1] & 1)
    for span in spans:
        span.is_sampled = is_sampled
    return spans


def _ids(traceparent: bytes) -> tuple[int, int]:
    return int(traceparent[3:35], 16), int(traceparent[36:52], 16)


def _name(record: Recorded, course: Course) -> str:
    method = record.method if record.method in _METHODS else names.OTHER_SPAN
    return f"{method} {course.template}" if course.template else method


def _method(record: Recorded) -> Attributes:
    if record.method in _METHODS:
        return {names.METHOD: record.method}
    return {names.METHOD: names.OTHER_METHOD, names.METHOD_ORIGINAL: record.method}


def _server(record: Recorded, course: Course, trace_id: int, span_id: int) -> Span:
    attributes: Attributes = {
        **_method(record),
        names.SCHEME: course.scheme,
        names.PATH: record.path,
        names.CLIENT_ADDRESS: record.client,
        names.PROTOCOL_VERSION: f"1.{course.minor}",
        names.REQUEST_BYTES: record.bytes_in,
        names.REQUEST_ID: record.request_id,
        names.OUTCOME: record.outcome,
        names.REASON: record.reason,
        names.DECIDED_BY: "memory" if course.loads is None else "stores",
    }
    if course.answered:
        # What is counted is what was relayed, not pages of ours.
        attributes[names.RESPONSE_BYTES] = record.bytes_out
    if record.host:
        attributes[names.SERVER_ADDRESS] = record.host
        attributes[names.SERVER_PORT] = _port(course)
    if course.template:
        attributes[names.TEMPLATE] = course.template
        attributes[names.ROUTE] = record.route
    if record.via:
        attributes[names.VIA] = tuple(record.via)
    if course.shows_principal and record.subject:
        attributes[names.TENANT] = record.tenant
        attributes[names.SUBJECT] = record.subject
        if record.session:
            attributes[names.SESSION] = record.session
    error = _server_error(record, course)
    if record.status:
        attributes[names.STATUS] = record.status
    else:
        attributes[names.ERROR_TYPE] = _LEFT
    if error is not None:
        attributes[names.ERROR_TYPE] = error
    events = []
    if course.is_broken_off:
        what: Attributes = {names.REASON: record.reason}
        events.append(Event(names.BROKEN_OFF, course.ended_ns, what))
    return Span(
        _name(record, course),
        Kind.SERVER,
        trace_id,
        span_id,
        course.parent_id,
        course.at(course.begun),
        course.ended_ns,
        attributes,
        is_parent_remote=True,
        error=error,
        events=events,
    )


def _server_error(record: Recorded, course: Course) -> str | None:
    """Of a server only faults are errors, and what was begun and not ended; not refusals."""
    if record.status < 500 and not course.is_broken_off:
        return None
    # An upstream's own 5xx is an answer that was permitted.
    return str(record.status) if record.outcome == "permit" else record.reason


def _port(course: Course) -> int:
    _, colon, port = course.authority.rpartition(":")
    if colon and port.isascii() and port.isdecimal():
        return int(port)
    return _DEFAULT_PORTS.get(course.scheme, 80)


def _client(
    record: Recorded, course: Course, target: Target, trace_id: int, client_id: int
) -> Span:
    attributes: Attributes = {
        **_method(record),
        names.SERVER_ADDRESS: target.address,
        names.UPSTREAM: target.name,
    }
    if target.port is not None:
        attributes[names.SERVER_PORT] = target.port
        attributes[names.URL] = target.base + record.path
    if course.resends:
        attributes[names.RESEND_COUNT] = course.resends
    events = []
    if course.sent:
        attributes[names.PROTOCOL_VERSION] = "1.1"
        events.append(Event(names.SENT, course.at(course.sent), {}))
    error = None
    if course.answered:
        events.append(Event(names.ANSWERED, course.at(course.answered), {}))
        # Where it was broken off, the status is the one that the client had got by then.
        attributes[names.STATUS] = record.status
        if record.status >= 400:
            error = str(record.status)
    elif record.outcome == "permit":
        error = _LEFT
    if record.outcome != "permit":
        error = record.reason
    if error is not None:
        attributes[names.ERROR_TYPE] = error
    return Span(
        _name(record, course),
        Kind.CLIENT,
        trace_id,
        client_id,
        server_id(client_id),
        course.at(course.asked),
        course.ended_ns,
        attributes,
        error=error,
        events=events,
    )


def _load(course: Course, loads: Loads, trace_id: int, client_id: int) -> Span:
    tiers: Sequence[str] = sorted({tier for _, tier, _, _ in loads.found})
    events = [
        Event(
            names.LOADED,
            course.at(at),
            {names.FACT: kind, names.TIER: tier, names.SECONDS: round(seconds, 6)},
        )
        for kind, tier, at, seconds in loads.found
    ]
    return Span(
        names.LOAD_SPAN,
        Kind.INTERNAL,
        trace_id,
        load_id(client_id),
        server_id(client_id),
        course.at(loads.begun),
        course.at(loads.ended or course.ended),
        {names.TIER: tuple(tiers)},
        events=events,
    )
