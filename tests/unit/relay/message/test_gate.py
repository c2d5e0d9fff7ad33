"""The gate of one connection: what it remembers, what it needs, what it says when things break."""

import json
from typing import Any, Final

import pytest

from sidecar.authorize.subject import Subject
from sidecar.relay.gate import ALLOW, Close, Direction, Drop, Kind
from sidecar.relay.message.call import Call
from sidecar.relay.message.gate import MessageGate
from sidecar.relay.message.refusal import WORDS, Refusal, UnreadableError
from tests.cases.messages.world import (
    gate_of,
    permit_of,
    policy_of,
    subject_with,
    told,
)

CLIENT: Final = Direction.CLIENT
SERVER: Final = Direction.SERVER
DOCUMENT: Final[dict[str, Any]] = {
    "messages": {
        "protocol": "json",
        "refused": "drop",
        "rules": [
            {
                "type": "read",
                "permission": "orders:read",
                "resource": "orders/{id}",
                "fields": {"id": "/id"},
            },
            {"type": "list", "permission": "orders:list"},
            {"type": "ping", "access": "route"},
        ],
    }
}
READ: Final = b'{"type": "read", "id": 1}'
LIST: Final = b'{"type": "list"}'
PING: Final = b'{"type": "ping"}'


def with_settings(**settings: Any) -> dict[str, Any]:
    return {**DOCUMENT, "messages": {**DOCUMENT["messages"], **settings}}


def judge(gate: MessageGate, payload: bytes, direction: Direction = CLIENT) -> Any:
    return told(gate.judge(direction, Kind.TEXT, payload))


def test_what_was_asked_once_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    check_many = Subject.check_many

    def counting(self: Subject, questions: Any) -> Any:
        asked.append(list(questions))
        return check_many(self, questions)

    monkeypatch.setattr(Subject, "check_many", counting)
    gate = gate_of(DOCUMENT, ["allow orders:read"])
    assert [judge(gate, READ) for _ in range(3)] == ["allow"] * 3
    assert asked == [[("orders:read", "orders/1")]]
    assert [judge(gate, LIST) for _ in range(3)] == [{"drop": "not-granted"}] * 3
    assert asked[1:] == [[("orders:list", "")]]


def test_a_batch_is_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    check_many = Subject.check_many

    def counting(self: Subject, questions: Any) -> Any:
        asked.append(list(questions))
        return check_many(self, questions)

    monkeypatch.setattr(Subject, "check_many", counting)
    rule = {"type": "x", "permission": "a:b", "resource": "r/{i}", "fields": {"i": "/params/0"}}
    gate = gate_of({"messages": {"protocol": "json-rpc", "rules": [rule]}}, ["allow a:b"])
    call = b'{"jsonrpc":"2.0","method":"x","params":[%d]}'
    assert judge(gate, b"[" + b",".join(call % each for each in (1, 2, 1)) + b"]") == "allow"
    assert asked == [[("a:b", "r/1"), ("a:b", "r/2")]]


def test_renewal_forgets_what_was_remembered() -> None:
    gate = gate_of(DOCUMENT, ["allow orders:read"])
    assert judge(gate, READ) == "allow"
    gate.renewed(permit_of(DOCUMENT, subject_with([])))
    assert judge(gate, READ) == {"drop": "not-granted"}
    gate.renewed(permit_of(DOCUMENT, subject_with(["allow *", "deny orders:read"])))
    assert judge(gate, READ) == {"drop": "denied-by-rule"}


def test_route_parameters_are_those_of_the_permit_in_force() -> None:
    document = {
        "messages": {
            "protocol": "json",
            "refused": "drop",
            "rules": [{"type": "x", "permission": "a:b", "resource": "shops/{shop}"}],
        },
        "route": {"path": "/shops/{shop}/ws"},
        "parameters": {"shop": "1"},
    }
    granted = ["allow a:b on shops/1"]
    gate = gate_of(document, granted)
    assert judge(gate, b'{"type": "x"}') == "allow"
    gate.renewed(permit_of({**document, "parameters": {"shop": "2"}}, subject_with(granted)))
    assert judge(gate, b'{"type": "x"}') == {"drop": "not-granted"}


def test_nobody_holds_permissions_on_a_public_route() -> None:
    policy = policy_of(DOCUMENT)
    public = permit_of(
        {"messages": {**DOCUMENT["messages"], "rules": [{"type": "a", "access": "route"}]},
         "route": {"access": "public"}}, None
    )  # fmt: skip
    gate = MessageGate(public, policy.rules, policy.reader(), "drop", 1000)
    assert judge(gate, READ) == {"drop": "not-granted"}
    assert judge(gate, PING) == "allow"
    gate.loaded({})


def test_many_permissions_do_not_fill_memory() -> None:
    gate = gate_of(DOCUMENT, ["allow orders:read on orders/7"])
    for number in range(500):
        expected = "allow" if number == 7 else {"drop": "not-granted"}
        assert judge(gate, b'{"type": "read", "id": %d}' % number) == expected
        assert len(gate._remembered) <= 32


def test_large_batches_that_overlap_are_answered_in_full() -> None:
    rule = {"type": "x", "permission": "a:b", "resource": "r/{i}", "fields": {"i": "/params/0"}}
    document = {"messages": {"protocol": "json-rpc", "items": 200, "rules": [rule]}}
    gate = gate_of(document, ["allow a:b"])
    call = b'{"jsonrpc":"2.0","method":"x","params":[%d]}'
    for begin in (0, 50, 100, 0):
        numbers = range(begin, begin + 100)
        assert judge(gate, b"[" + b",".join(call % each for each in numbers) + b"]") == "allow"
        assert len(gate._remembered) <= 32


def test_many_types_do_not_fill_memory() -> None:
    policy = policy_of(DOCUMENT)
    gate = gate_of(DOCUMENT, [], policy)
    for number in range(3000):
        assert judge(gate, b'{"type": "t%d"}' % number) == {"drop": "unknown-type"}
    assert len(policy.rules._remembered) <= 1024
    long_type = b'{"type": "' + b"x" * 300 + b'"}'
    before = len(policy.rules._remembered)
    assert judge(gate, long_type) == {"drop": "unknown-type"}
    assert len(policy.rules._remembered) == before


def test_without_rules_for_it_the_server_is_not_read() -> None:
    gate = gate_of(DOCUMENT, [])
    assert gate.judge(SERVER, Kind.BINARY, b"\xff") is ALLOW


def test_unknown_types_may_be_let_through_but_nothing_unreadable() -> None:
    gate = gate_of(with_settings(unknown="allow"), [])
    assert judge(gate, b'{"type": "else"}') == "allow"
    assert judge(gate, b'{"type": "else", "type": "read"}') == {"drop": "unreadable-message"}


def test_unknown_types_of_the_server_may_be_let_through() -> None:
    rules = [{"type": "x", "direction": "server", "access": "nobody"}]
    gate = gate_of(with_settings(unknown_from_server="allow", rules=rules), [])
    assert judge(gate, b'{"type": "y"}', SERVER) == "allow"
    assert judge(gate, b'{"type": "x"}', SERVER) == {"drop": "forbidden"}
    assert judge(gate, b'{"type": "y"}') == {"drop": "unknown-type"}


def test_refusal_may_close() -> None:
    gate = gate_of(with_settings(refused="close"), [])
    assert judge(gate, READ) == {"close": 4403, "label": "not-granted"}
    assert judge(gate, b"x") == {"close": 4400, "label": "unreadable-message"}


def test_what_is_too_long_is_not_read() -> None:
    gate = gate_of(with_settings(longest_bytes=200), [])
    filled = b'{"type": "ping", "x": "' + b"x" * 175 + b'"}'
    assert len(filled) == 200
    assert judge(gate, filled) == "allow"
    assert judge(gate, filled + b" ") == {"drop": "message-too-large"}


class Broken:
    """A reader with a bug."""

    def read(self, *_: object) -> list[Call]:
        raise KeyError("bug")


class Silent(Broken):
    """A reader that finds nothing."""

    def read(self, *_: object) -> list[Call]:
        return []


@pytest.mark.parametrize("direction", list(Direction))
def test_a_bug_refuses(direction: Direction) -> None:
    document = with_settings(rules=[{"type": "x", "direction": direction.value, "access": "route"}])
    gate = gate_of(document, ["allow *"])
    gate._reader = Broken()  # type: ignore[assignment]  # a reader that only reads
    verdict = gate.judge(direction, Kind.TEXT, READ)
    assert isinstance(verdict, Close)
    assert (verdict.code, verdict.label) == (1011, "internal-error")


def test_a_message_that_says_nothing_is_refused() -> None:
    gate = gate_of(DOCUMENT, ["allow *"])
    gate._reader = Silent()  # type: ignore[assignment]  # a reader that only reads
    assert gate.judge(CLIENT, Kind.TEXT, READ) == Drop("unreadable-message")


def test_close_reasons_fit_a_close_frame() -> None:
    """RFC 6455 section 5.5: 125 bytes, two of them the code."""
    assert set(WORDS) == set(Refusal)
    assert all(len(each.value.encode()) <= 123 for each in Refusal)


def test_operations_of_a_connection_are_bounded() -> None:
    digest = "b8d9506e34c83b0e53c2aa463624fcea354713bc38f95276e6f0bd893ffb5b88"
    rules = [
        {"type": "subscribe", "documents": [digest], "access": "route"},
        {"type": "next", "direction": "server", "access": "route"},
    ]
    document = {"messages": {"protocol": "graphql-transport-ws", "rules": rules}}
    gate = gate_of(document, [])
    message = b'{"id": "%d", "type": "subscribe", "payload": {"query": "{ me { name } }"}}'
    for number in range(1024):
        assert judge(gate, message % number) == "allow"
    assert judge(gate, message % 1024) == {"close": 1013, "label": "unknown-operation"}
    # The upstream is done with one: that makes room.
    assert judge(gate, b'{"id": "7", "type": "complete"}', SERVER) == "allow"
    assert judge(gate, message % 1024) == "allow"


def test_what_clients_name_is_bounded() -> None:
    rules = [{"type": "subscribe", "any_document": True, "access": "route"}]
    document = {"messages": {"protocol": "graphql-transport-ws", "rules": rules}}
    gate = gate_of(document, [])
    message = (
        '{"id": "%s", "type": "subscribe", "payload": {"operationName": "%s", "query": "{x}"}}'
    )
    for id_size, name_size, verdict in ((64, 128, "allow"), (65, 1, 4400), (1, 129, 4400)):
        said = judge(gate, (message % ("i" * id_size, "n" * name_size)).encode())
        assert (said if said == "allow" else said["close"]) == verdict


def test_long_resources_are_not_remembered() -> None:
    rule = {"type": "x", "permission": "a:b", "resource": "r/{i}/{j}",
            "fields": {"i": "/i", "j": "/j"}}  # fmt: skip
    document = {"messages": {"protocol": "json", "refused": "drop", "rules": [rule]}}
    gate = gate_of(document, ["allow a:b"])
    message = '{"type": "x", "i": "%s", "j": "1"}'
    assert judge(gate, (message % "short").encode()) == "allow"
    assert judge(gate, (message % ("x" * 256)).encode()) == "allow"
    assert list(gate._remembered) == [("a:b", "r/short/1")]


def test_readers_without_an_error_message_refuse_all_the_same() -> None:
    reader = policy_of(DOCUMENT).reader()
    refused = reader.refused([Call("read")], [Refusal.NOT_GRANTED])
    assert refused == Drop("not-granted")
    closed = reader.unreadable(UnreadableError("no JSON"))
    assert isinstance(closed, Close)
    assert closed.code == 4400


def test_control_messages_that_a_rule_refuses_have_no_operation_to_tell() -> None:
    rules = [{"type": "ping", "access": "nobody"}, {"type": "complete", "access": "route"}]
    document = {"messages": {"protocol": "graphql-transport-ws", "rules": rules}}
    gate = gate_of(document, [])
    assert judge(gate, b'{"type": "ping"}') == {"drop": "forbidden"}
    assert judge(gate, b'{"id": "1", "type": "complete"}') == "allow"


def test_headers_of_a_frame_are_bounded() -> None:
    document = {
        "messages": {
            "protocol": "stomp",
            "items": 3,
            "rules": [{"type": "SEND", "topic": "/a", "access": "route"}],
        }
    }
    gate = gate_of(document, [])
    assert judge(gate, b"SEND\ndestination:/a\nb:1\nc:1\n\n\0") == "allow"
    assert judge(gate, b"SEND\ndestination:/a\nb:1\nc:1\nd:1\n\n\0")["close"] == 4400


def test_an_id_that_is_unclear_is_none() -> None:
    messages = {
        "protocol": "json",
        "id_pointer": "/re/id",
        "error": '["{id}", "{code}"]',
        "rules": [{"type": "read", "access": "nobody"}],
    }
    gate = gate_of({"messages": messages}, [])
    for re in ("[7]", '"{}"', "{}", "7"):
        said = told(gate.judge(CLIENT, Kind.TEXT, f'{{"type": "read", "re": {re}}}'.encode()))
        assert said == {"drop": "forbidden", "to_client": '[null,"forbidden"]'}


def test_a_type_or_topic_has_a_length_to_match() -> None:
    """What is longer is not even looked at, whatever becomes of unknown types."""
    messages = {
        "protocol": "json",
        "refused": "drop",
        "unknown": "allow",
        "topic_pointer": "/about",
        "rules": [{"type": "{all*}", "access": "route"}],
    }
    gate = gate_of({"messages": messages}, [])
    for key, other in (("type", "about"), ("about", "type")):
        for length, verdict in ((1024, "allow"), (1025, {"drop": "unreadable-message"})):
            segments = ("a." * 512 + "b")[-length:].replace("..", ".")
            payload = json.dumps({other: "x", key: segments}).encode()
            assert told(gate.judge(Direction.CLIENT, Kind.TEXT, payload)) == verdict, (key, length)
