"""What is told of exchanges and WebSockets as traces: the same as in audit records, and how long.

Hot path: of a request that is not kept nothing is made here. Whether it is kept is asked twice:
when it is forwarded, for its upstream has to be told (`telemetry.propagation`), and at its end,
where refusals and faults are kept though nobody foresaw them.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from sidecar.audit.record import Auditable, Closed, Record, record_of, record_of_close
from sidecar.clock import wall
from sidecar.model.decision import Denial
from sidecar.settings.schema import Tracing
from sidecar.telemetry.connection_spans import Connection, Journal, connection_span
from sidecar.telemetry.propagation import Propagation
from sidecar.telemetry.request_spans import Course, Loads, Target, count_of, request_spans
from sidecar.telemetry.sampling import Budget, Occasion
from sidecar.telemetry.spans import Span


class Traceable(Auditable, Protocol):
    """What spans are made of: an exchange that is over (`forward.exchange`)."""

    trace: bytes

    @property
    def started(self) -> float:
        """Reading of the stopwatch when its head was complete."""

    @property
    def asked(self) -> float:
        """When the upstream was to be asked; 0 if never."""

    @property
    def sent(self) -> float:
        """When it was sent the head."""

    @property
    def answered(self) -> float:
        """When it began to answer."""

    @property
    def resends(self) -> int:
        """How often it was sent once more."""

    @property
    def loads(self) -> Loads | None:
        """What the decision waited for."""


class Relayed(Closed, Protocol):
    """A WebSocket that has ended (`relay.session`)."""

    @property
    def started(self) -> float:
        """Reading of the stopwatch when it was opened."""

    @property
    def journal(self) -> Journal | None:
        """What happened on it."""


class Sink(Protocol):
    """Where spans go (`telemetry.export.Exporter`)."""

    def add(self, kept: Sequence[Span], /) -> None:
        """Send these."""


class Traces:
    """Keeps what is to be kept.

    Args:
        propagation: knows which trace a request belongs to.
        settings: what is always kept.
        budget: bounds all spans.
        sink: takes them.
        targets: the upstreams as spans name them, by name; ourselves not among them.
    """

    def __init__(
        self,
        propagation: Propagation,
        settings: Tracing,
        budget: Budget,
        sink: Sink,
        targets: Mapping[str, Target],
    ) -> None:
        self._propagation: Final = propagation
        self._keeps_refusals: Final = settings.refusals
        self._keeps_faults: Final = settings.faults
        self._budget: Final = budget
        self._sink: Final = sink
        self._targets: Final = targets

    def begin(self, exchange: Traceable) -> None:
        """Name the trace of an exchange that ends without having been forwarded."""
        spans = count_of(is_asked=False, loads=exchange.loads)
        is_trusted = exchange.peer.is_trusted
        exchange.trace = self._propagation.begin(exchange.head, is_trusted=is_trusted, spans=spans)

    def ended(self, exchange: Traceable, record: Record | None, ended: float, scheme: str) -> None:
        """An exchange is over, and may have to be kept.

        Args:
            exchange: the exchange.
            record: of the audit; None where it gets none, and where principals are not shown.
            ended: reading of the stopwatch.
            scheme: as the client used it.
        """
        spans = count_of(is_asked=bool(exchange.asked), loads=exchange.loads)
        if not self._keeps(exchange.trace, exchange.denial, exchange.status, spans, ended):
            return
        shown = record or record_of(exchange, wall(), ended - exchange.started)
        permit, denial, head = exchange.permit, exchange.denial, exchange.head
        route = permit.route if permit is not None else denial.route if denial is not None else None
        self._sink.add(
            request_spans(
                shown,
                Course(
                    traceparent=exchange.trace,
                    parent_id=self._propagation.parent(head, exchange.trace),
                    scheme=scheme,
                    authority=head.authority.decode("latin-1"),
                    minor=head.minor,
                    template="" if route is None else route.template,
                    begun=exchange.started,
                    ended=ended,
                    ended_ns=time.time_ns(),
                    asked=exchange.asked,
                    sent=exchange.sent,
                    answered=exchange.answered,
                    resends=exchange.resends,
                    target=None if permit is None else self._targets.get(permit.route.upstream),
                    loads=exchange.loads,
                    is_broken_off=_is_broken_off(exchange),
                    shows_principal=record is not None,
                ),
            )
        )

    def closed(self, session: Relayed, record: Record | None, ended: float) -> None:
        """A WebSocket has ended, and may have to be kept; arguments as of `ended`."""
        journal = session.journal
        if journal is None or not session.trace:
            return
        # The handshake's sample is the connection's; and refused messages are refusals.
        why = self._propagation.occasion(
            session.head, session.trace, is_trusted=session.peer.is_trusted
        )
        is_kept = self._keeps(session.trace, session.denial, 0, 1, ended, pays=why)
        if not is_kept and not (journal.refused and self._may_keep(Occasion.REFUSAL, 1, ended)):
            return
        shown = record or record_of_close(session, wall(), ended - session.started)
        connection = Connection(
            handshake=session.trace,
            trace_id=secrets.randbits(128) or 1,
            span_id=secrets.randbits(64) or 1,
            is_sampled=bool(session.trace[-1] & 1),
            template="" if session.permit is None else session.permit.route.template,
            begun=session.started,
            ended=ended,
            ended_ns=time.time_ns(),
            shows_principal=record is not None,
        )
        self._sink.add([connection_span(shown, connection, journal)])

    def _keeps(
        self,
        trace: bytes,
        denial: Denial | None,
        status: int,
        spans: int,
        now: float,
        *,
        pays: Occasion | None = None,
    ) -> bool:
        """Whether it is of the sample, or always kept; the sample is paid for unless it `pays`."""
        if trace[-1] & 1 and (pays is None or self._budget.take(spans, pays, now)):
            return True
        if status >= 500 or (denial is not None and denial.status >= 500):
            return self._may_keep(Occasion.FAULT, spans, now)
        return denial is not None and self._may_keep(Occasion.REFUSAL, spans, now)

    def _may_keep(self, occasion: Occasion, spans: int, now: float) -> bool:
        wanted = self._keeps_faults if occasion is Occasion.FAULT else self._keeps_refusals
        return wanted and self._budget.take(spans, occasion, now)


def _is_broken_off(exchange: Traceable) -> bool:
    """Whether the client got a part of a response that was permitted no more, or that failed."""
    denial = exchange.denial
    return denial is not None and bool(exchange.answered) and exchange.status != denial.status
