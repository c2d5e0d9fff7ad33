"""What is kept of exchanges and WebSockets, and what of it is told."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from sidecar.audit.record import Record, record_of
from sidecar.audit.traces import Traces
from sidecar.authorize.permit import SEAL, Permit
from sidecar.model.decision import Denial, Principal
from sidecar.model.head import RequestHead
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.model.route import Access, Route
from sidecar.parse.request import unread_head
from sidecar.settings.schema import Tracing
from sidecar.telemetry import names
from sidecar.telemetry.connection_spans import Journal
from sidecar.telemetry.propagation import Propagation
from sidecar.telemetry.request_spans import Loads, Target
from sidecar.telemetry.sampling import Budget
from sidecar.telemetry.spans import Span

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
UNSAMPLED, SAMPLED = TRACE + b"2", TRACE + b"3"
ROUTE = Route(
    name="orders", host=None, template="/orders", methods=frozenset(), access=Access.PUBLIC
)
ANN = Principal("acme", "ann", (), "token", "", math.inf)
PERMIT = Permit(SEAL, ROUTE, ANN, Reason.AUTHENTICATED, None, "", {}, math.inf)


def head() -> RequestHead:
    made = unread_head()
    made.method, made.path = "GET", "/orders"
    return made


@dataclass
class Exchange:
    """An exchange, or a WebSocket, that is over after a second."""

    trace: bytes = UNSAMPLED
    permit: Permit | None = PERMIT
    denial: Denial | None = None
    status: int = 200
    asked: float = 10.1
    sent: float = 10.2
    answered: float = 10.3
    loads: Loads | None = None
    journal: Journal | None = None
    head: RequestHead = field(default_factory=head)
    peer: Peer = field(default_factory=lambda: Peer("192.0.2.1", "http", is_trusted=False))
    request_id: bytes = b"r1"
    bytes_in: int = 0
    bytes_out: int = 0
    started: float = 10.0
    resends: int = 0
    cause: str = "client-closed"
    code: int = 1000
    messages: tuple[int, int] = (1, 2)


class Kept:
    """Takes spans, by request."""

    def __init__(self) -> None:
        self.spans: list[list[Span]] = []

    def add(self, kept: Any, /) -> None:
        self.spans.append(list(kept))


class World:
    """Traces, what they keep, and their budget."""

    def __init__(
        self,
        *,
        spans_per_second: int = 100,
        ratio: float = 0.0,
        refusals: bool = True,
        faults: bool = True,
    ) -> None:
        self.kept = Kept()
        self.budget = Budget(spans_per_second)
        targets = {"app": Target("app", "127.0.0.1", 9000, "http://127.0.0.1:9000")}
        self.traces = Traces(
            Propagation("keep", ratio, self.budget),
            Tracing(refusals=refusals, faults=faults),
            self.budget,
            self.kept,
            targets,
        )

    def ended(self, exchange: Exchange, record: Record | None = None) -> list[Span]:
        """The spans of an exchange; none where it is not kept."""
        self.kept.spans.clear()
        self.traces.ended(exchange, record, 11.0, "http")
        return self.kept.spans[0] if self.kept.spans else []

    def closed(self, session: Exchange, record: Record | None = None) -> list[Span]:
        self.kept.spans.clear()
        self.traces.closed(session, record, 11.0)
        return self.kept.spans[0] if self.kept.spans else []


REFUSED = Denial(Reason.NOT_GRANTED, route=ROUTE, principal=ANN)
DOWN = Denial(Reason.STORES_UNAVAILABLE, route=ROUTE)


@pytest.mark.parametrize(
    ("exchange", "refusals", "faults"),
    [
        (Exchange(), False, False),
        (Exchange(denial=REFUSED, status=403, permit=None, asked=0.0), True, False),
        (Exchange(denial=DOWN, status=503, permit=None, asked=0.0), False, True),
        (Exchange(status=500), False, True),
        # A client that left.
        (Exchange(status=0, answered=0.0), False, False),
    ],
)
def test_what_is_kept_by_its_end(exchange: Exchange, *, refusals: bool, faults: bool) -> None:
    for keeps_refusals in (True, False):
        for keeps_faults in (True, False):
            world = World(refusals=keeps_refusals, faults=keeps_faults)
            kept = bool(world.ended(exchange))
            assert kept == ((refusals and keeps_refusals) or (faults and keeps_faults))


def test_the_sample_is_kept_and_was_paid_for() -> None:
    world = World(spans_per_second=1)
    for _ in range(100):
        assert len(world.ended(Exchange(trace=SAMPLED))) == 2
    assert world.budget.refused == 0


def test_what_is_kept_by_its_end_is_paid_for_then() -> None:
    world = World(spans_per_second=1)
    kept = [bool(world.ended(Exchange(status=500))) for _ in range(10)]
    # Of eight spans faults leave two to the others.
    assert kept == [True] * 3 + [False] * 7


def test_who_asked_is_told_only_with_a_record() -> None:
    exchange = Exchange(trace=SAMPLED)
    [server, _] = World().ended(exchange)
    assert names.SUBJECT not in server.attributes
    [server, _] = World().ended(exchange, record_of(exchange, 0.0, 1.0))
    assert server.attributes[names.SUBJECT] == "ann"


@pytest.mark.parametrize(
    ("status", "answered", "denial", "broken"),
    [
        (200, 10.3, REFUSED, True),
        (200, 10.3, None, False),
        # The answer was the refusal.
        (403, 0.0, REFUSED, False),
        (503, 10.3, DOWN, False),
    ],
)
def test_a_response_that_was_broken_off(
    status: int, answered: float, denial: Denial | None, *, broken: bool
) -> None:
    exchange = Exchange(trace=SAMPLED, status=status, answered=answered, denial=denial)
    server, *_ = World().ended(exchange)
    assert [event.name for event in server.events] == [names.BROKEN_OFF] * broken


def test_what_was_never_forwarded_is_named_at_its_end() -> None:
    for ratio, flags in ((0.0, b"02"), (1.0, b"03")):
        exchange = Exchange(trace=b"", denial=REFUSED, status=403, permit=None, asked=0.0)
        World(ratio=ratio).traces.begin(exchange)
        assert exchange.trace.endswith(flags)


def test_an_unread_request_has_no_route() -> None:
    denial = Denial(Reason.MALFORMED_REQUEST)
    exchange = Exchange(denial=denial, status=400, permit=None, asked=0.0, head=unread_head())
    [server] = World().ended(exchange)
    assert server.name == "HTTP"


class TestWebSocket:
    def test_the_handshakes_sample_is_the_connections(self) -> None:
        assert World().closed(Exchange(journal=Journal())) == []
        [span] = World().closed(Exchange(trace=SAMPLED, journal=Journal()))
        assert span.name == "websocket /orders"
        assert span.trace_id != int(TRACE[3:35], 16)
        assert names.SUBJECT not in span.attributes

    def test_one_that_was_ended_is_kept(self) -> None:
        [span] = World().closed(Exchange(denial=REFUSED, journal=Journal()))
        assert span.error == "not-granted"
        assert World(refusals=False).closed(Exchange(denial=REFUSED, journal=Journal())) == []

    def test_one_with_refused_messages_is_kept(self) -> None:
        journal = Journal()
        journal.add_refusal("client", "forbidden")
        assert len(World().closed(Exchange(journal=journal))) == 1
        assert World(refusals=False).closed(Exchange(journal=journal)) == []

    def test_it_is_paid_for_when_it_closes(self) -> None:
        world = World(spans_per_second=1)
        kept = [bool(world.closed(Exchange(trace=SAMPLED, journal=Journal()))) for _ in range(20)]
        assert kept == [True] * 8 + [False] * 12

    @pytest.mark.parametrize(
        ("is_trusted", "ratio", "kept"),
        # A stranger's id; a trusted proxy's, that the ratio picks; its flag alone.
        [(False, 1.0, 5), (True, 1.0, 10), (True, 0.0, 7)],
    )
    def test_it_is_paid_for_as_what_its_trace_was_begun_for(
        self, *, is_trusted: bool, ratio: float, kept: int
    ) -> None:
        world = World(spans_per_second=10, ratio=ratio)
        asking = head()
        asking.set_fields([(b"traceparent", SAMPLED)])
        peer = Peer("192.0.2.1", "http", is_trusted=is_trusted)
        sessions = [
            Exchange(trace=SAMPLED, journal=Journal(), head=asking, peer=peer) for _ in range(20)
        ]
        assert sum(bool(world.closed(each)) for each in sessions) == kept
        ours = Exchange(trace=SAMPLED.replace(b"0af", b"1af"), journal=Journal(), head=asking)
        assert sum(bool(world.closed(ours)) for _ in range(20)) == 10 - kept

    def test_without_a_journal_nothing_is_kept(self) -> None:
        assert World().closed(Exchange(trace=SAMPLED)) == []
        assert World().closed(Exchange(trace=b"", journal=Journal())) == []
