"""Spans of single requests: each thing that may have happened, and what is said of it."""

from typing import Any

import msgspec
import pytest

from sidecar.audit.record import Record
from sidecar.telemetry import names
from sidecar.telemetry.connection_spans import Connection, Journal, connection_span
from sidecar.telemetry.request_spans import Course, Loads, Target, count_of, request_spans
from sidecar.telemetry.spans import Kind, Span, load_id, server_id

TRACE, CLIENT_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = f"00-{TRACE:032x}-{CLIENT_ID:016x}-03".encode()
RECORD = Record(
    time=0.0, request_id="r1", outcome="permit", reason="granted", status=200, method="GET",
    path="/orders/7", host="app.example", client="192.0.2.1", milliseconds=4.0,
    route="GET /orders/{id}", tenant="acme", subject="ann", via=("clerk",),
)  # fmt: skip
APP = Target("app", "127.0.0.1", 9000, "http://127.0.0.1:9000")
UNIX = Target("app", "/run/app.sock", None, "")
MS = 1_000_000


def spans(*, record: dict[str, Any] | None = None, **course: Any) -> list[Span]:
    """What became of a permitted request that took four milliseconds, but for what is given."""
    defaults: dict[str, Any] = {
        "traceparent": PARENT, "parent_id": 0, "scheme": "http", "authority": "app.example",
        "minor": 1, "template": "/orders/{id}", "begun": 10.0, "ended": 10.004, "ended_ns": 9 * MS,
        "asked": 10.001, "sent": 10.002, "answered": 10.003, "target": APP,
    }  # fmt: skip
    told = msgspec.structs.replace(RECORD, **record or {})
    return request_spans(told, Course(**defaults | course))


def test_times_and_ids() -> None:
    server, client = spans()
    assert (server.begun_ns, server.ended_ns) == (5 * MS, 9 * MS)
    assert (client.begun_ns, client.ended_ns) == (6 * MS, 9 * MS)
    assert [(event.name, event.at_ns) for event in client.events] == [
        (names.SENT, 7 * MS), (names.ANSWERED, 8 * MS),
    ]  # fmt: skip
    assert (client.trace_id, client.span_id, client.parent_id) == (TRACE, CLIENT_ID, server.span_id)
    assert server.span_id not in {0, CLIENT_ID}
    assert (server.kind, client.kind) == (Kind.SERVER, Kind.CLIENT)
    assert server.is_parent_remote
    assert not client.is_parent_remote


def test_ids_that_would_be_none_are_some() -> None:
    """Zero is no id (W3C Trace Context section 3.2.2.4)."""
    for derived in (server_id, load_id):
        forbidden = derived(1) ^ 1
        assert derived(forbidden) != 0


def test_methods_that_nobody_knows_do_not_make_names() -> None:
    server, client = spans(record={"method": "BREW"})
    assert server.name == client.name == "HTTP /orders/{id}"
    assert server.attributes[names.METHOD] == "_OTHER"
    assert server.attributes[names.METHOD_ORIGINAL] == "BREW"


def test_without_a_route() -> None:
    refused = {"status": 404, "outcome": "deny", "reason": "unknown-route", "route": "", "via": ()}
    [server] = spans(record=refused, template="", asked=0.0, sent=0.0, answered=0.0, target=None)
    assert server.name == "GET"
    assert server.error is None
    assert not {names.TEMPLATE, names.ROUTE, names.VIA, names.RESPONSE_BYTES} & set(
        server.attributes
    )


@pytest.mark.parametrize(
    ("authority", "scheme", "port"),
    [
        ("h:8443", "https", 8443), ("h", "https", 443), ("h", "http", 80), ("[::1]", "http", 80),
        ("[::1]:81", "http", 81), ("h:²", "http", 80), ("h", "ws", 80),
    ],
)  # fmt: skip
def test_ports(authority: str, scheme: str, port: int) -> None:
    server, _ = spans(authority=authority, scheme=scheme)
    assert server.attributes[names.SERVER_PORT] == port


def test_a_request_without_a_host() -> None:
    server, _ = spans(record={"host": ""}, authority="", minor=0)
    assert names.SERVER_ADDRESS not in server.attributes
    assert server.attributes[names.PROTOCOL_VERSION] == "1.0"


@pytest.mark.parametrize("shows", [True, False])
def test_who_asked_is_shown_where_it_may_be(*, shows: bool) -> None:
    server, client = spans(record={"session": "s1"}, shows_principal=shows)
    principal = {names.SUBJECT, names.TENANT, names.SESSION}
    assert (principal & set(server.attributes)) == (principal if shows else set())
    assert not principal & set(client.attributes)


def test_nobody_asked() -> None:
    server, _ = spans(record={"subject": "", "tenant": ""}, shows_principal=True)
    assert names.SUBJECT not in server.attributes


def test_an_upstream_on_a_unix_socket() -> None:
    _, client = spans(target=UNIX)
    assert client.attributes[names.SERVER_ADDRESS] == "/run/app.sock"
    assert not {names.SERVER_PORT, names.URL} & set(client.attributes)


def test_ourselves_are_no_upstream() -> None:
    assert [span.kind for span in spans(target=None)] == [Kind.SERVER]


@pytest.mark.parametrize(
    ("record", "course", "errors"),
    [
        # Errors of clients are none of a server's, but of who asks.
        ({"status": 404}, {}, (None, "404")),
        ({"status": 500}, {}, ("500", "500")),
        # It ended in the middle.
        ({"outcome": "fault", "reason": "upstream-closed"}, {"is_broken_off": True},
         ("upstream-closed", "upstream-closed")),
        ({"status": 504, "outcome": "fault", "reason": "upstream-timeout"}, {"answered": 0.0},
         ("upstream-timeout", "upstream-timeout")),
        ({"status": 503, "outcome": "fault", "reason": "overloaded"},
         {"sent": 0.0, "answered": 0.0}, ("overloaded", "overloaded")),
        # The client left before there was an answer.
        ({"status": 0}, {"answered": 0.0}, (None, "client-lost")),
    ],
)  # fmt: skip
def test_errors(
    record: dict[str, Any], course: dict[str, Any], errors: tuple[str | None, str | None]
) -> None:
    server, client = spans(record=record, **course)
    assert (server.error, client.error) == errors
    assert client.attributes.get(names.ERROR_TYPE) == errors[1]
    assert server.attributes.get(names.ERROR_TYPE) == (errors[0] or (None, "client-lost")[
        record.get("status") == 0
    ])  # fmt: skip
    assert (names.STATUS in client.attributes) == (course.get("answered") != 0.0)
    assert bool(server.events) == ("is_broken_off" in course)


def test_a_request_that_was_sent_twice() -> None:
    _, client = spans(resends=1)
    assert client.attributes[names.RESEND_COUNT] == 1
    assert names.RESEND_COUNT not in spans()[1].attributes


def test_look_ups() -> None:
    loads = Loads(10.0, 10.001, [("UserNeed", "redis", 10.0005, 0.0005)])
    server, _, load = spans(loads=loads)
    assert (load.name, load.kind, load.parent_id) == (
        names.LOAD_SPAN, Kind.INTERNAL, server.span_id,
    )  # fmt: skip
    assert (load.begun_ns, load.ended_ns) == (5 * MS, 6 * MS)
    [event] = load.events
    assert event.attributes == {
        names.FACT: "UserNeed", names.TIER: "redis", names.SECONDS: 0.0005,
    }  # fmt: skip
    assert load.attributes == {names.TIER: ("redis",)}
    assert server.attributes[names.DECIDED_BY] == "stores"


def test_look_ups_that_never_ended() -> None:
    """The client left meanwhile."""
    *_, load = spans(loads=Loads(10.0))
    assert load.ended_ns == 9 * MS


def test_a_fact_that_was_found() -> None:
    loads = Loads(1.0)
    loads.add("RolesNeed", "postgres", 1.0)
    [(kind, tier, at, seconds)] = loads.found
    assert (kind, tier) == ("RolesNeed", "postgres")
    assert seconds == at - 1.0


@pytest.mark.parametrize("is_asked", [True, False])
@pytest.mark.parametrize("loads", [None, Loads(10.0)])
def test_as_many_as_were_counted_before(loads: Loads | None, *, is_asked: bool) -> None:
    made = spans(loads=loads, asked=10.001 if is_asked else 0.0)
    assert len(made) == count_of(is_asked=is_asked, loads=loads)


def test_what_was_told_of_the_sample_goes_along() -> None:
    assert all(span.is_sampled for span in spans())
    assert not any(span.is_sampled for span in spans(traceparent=PARENT[:-1] + b"2"))


class TestConnection:
    CONNECTION = Connection(
        handshake=PARENT, trace_id=5, span_id=6, is_sampled=True, template="/ws", begun=10.0,
        ended=10.004, ended_ns=9 * MS, shows_principal=True,
    )  # fmt: skip
    RECORD = msgspec.structs.replace(
        RECORD, status=101, closed="client-closed", code=1000, messages_in=3, messages_out=4
    )

    def test_one_on_which_nothing_was_read(self) -> None:
        span = connection_span(self.RECORD, self.CONNECTION, Journal())
        assert (span.name, span.kind, span.parent_id) == ("websocket /ws", Kind.INTERNAL, 0)
        assert (span.begun_ns, span.ended_ns) == (5 * MS, 9 * MS)
        assert span.error is None
        assert names.MESSAGES_JUDGED not in span.attributes
        assert span.attributes[names.MESSAGES_REFUSED] == 0
        assert span.attributes[names.SUBJECT] == "ann"
        [link] = span.links
        assert (link.trace_id, link.span_id) == (TRACE, server_id(CLIENT_ID))
        assert link.is_sampled
        [event] = span.events
        assert event.attributes == {names.CLOSED: "client-closed", names.CLOSE_CODE: 1000}

    def test_who_it_was_is_shown_where_it_may_be(self) -> None:
        record = msgspec.structs.replace(self.RECORD, session="s1")
        hidden = Connection(
            handshake=PARENT, trace_id=5, span_id=6, is_sampled=True, template="/ws", begun=1.0,
            ended=2.0, ended_ns=1, shows_principal=False,
        )  # fmt: skip
        shown = connection_span(record, self.CONNECTION, Journal())
        assert shown.attributes[names.SESSION] == "s1"
        attributes = connection_span(record, hidden, Journal()).attributes
        assert not {names.SUBJECT, names.TENANT, names.SESSION} & set(attributes)

    def test_a_journal_is_bounded(self) -> None:
        journal = Journal()
        for _ in range(100):
            journal.add_judging(0.5)
            journal.add_refusal("client", "forbidden")
            journal.add_renewal("one-at-a-time")
        journal.add_renewal()
        assert (journal.judged, journal.refused, journal.renewals) == (100, 100, 101)
        assert len(journal.entries) == 64
        span = connection_span(self.RECORD, self.CONNECTION, journal)
        assert len(span.events) == 65
        assert span.attributes[names.MESSAGES_REFUSED] == 100
        assert span.attributes[names.MESSAGES_JUDGED] == 100
        assert span.attributes[names.JUDGING_SECONDS] == 50.0
        assert span.attributes[names.JUDGING_MEAN_SECONDS] == 0.5
