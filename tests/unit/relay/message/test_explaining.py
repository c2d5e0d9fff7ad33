"""An explanation says what the gate says, and why."""

from typing import Any, Final

import pytest

from sidecar.model.decision import RuleOrigin
from sidecar.model.explanation import CallStep, MessageExplanation
from sidecar.model.websocket import Reauthentication
from sidecar.relay.gate import Direction, Kind
from sidecar.relay.message.explaining import beside_fresh_tokens, explain_message
from tests.cases.messages.world import permit_of, policy_of, subject_with

DOCUMENT: Final[dict[str, Any]] = {
    "messages": {
        "protocol": "json-rpc",
        "rules": [
            {"type": "ping", "access": "route"},
            {"type": "stop", "access": "nobody"},
            {
                "type": "get",
                "permission": "o:get",
                "resource": "o/{i}",
                "fields": {"i": "/params/i"},
            },
        ],
    }
}
ALLOWED: Final = RuleOrigin("allow", "o:get", "o/1", ())


def call(method: str, params: str = "{}") -> str:
    return f'{{"jsonrpc":"2.0","method":"{method}","params":{params}}}'


BATCH: Final = "[" + ",".join(
    [call("get", '{"i": 1}'), call("get", '{"i": 2}'), call("get"), call("x")]
) + "]"  # fmt: skip


@pytest.mark.parametrize(
    ("message", "explained"),
    [
        (
            call("ping"),
            MessageExplanation(passes=True, calls=(CallStep(type="ping", rule=0, access="route"),)),
        ),
        (
            call("stop"),
            MessageExplanation(
                passes=False,
                label="forbidden",
                calls=(CallStep(type="stop", rule=1, access="nobody"),),
            ),
        ),
        (
            BATCH,
            MessageExplanation(
                passes=False,
                label="not-granted",
                calls=(
                    CallStep(type="get", rule=2, action="o:get", resource="o/1", origin=ALLOWED),
                    CallStep(type="get", rule=2, action="o:get", resource="o/2"),
                    CallStep(type="get", rule=2, action="o:get"),
                    CallStep(type="x"),
                ),
            ),
        ),
        ("{", MessageExplanation(passes=False, label="unreadable-message", detail="no JSON")),
    ],
)
def test_a_message(message: str, explained: MessageExplanation) -> None:
    permit = permit_of(DOCUMENT, subject_with(["allow o:get on o/1"]))
    policy = policy_of(DOCUMENT)
    assert (
        explain_message(policy, permit, Direction.CLIENT, Kind.TEXT, message.encode()) == explained
    )


def test_where_a_message_is_not_as_the_schema_says_but_never_what_stands_there() -> None:
    schema = {"type": "object", "properties": {"i": {"type": "integer"}}, "required": ["j"]}
    document = {
        "messages": {
            "protocol": "json-rpc",
            "rules": [{"type": "get", "access": "route", "schema": schema}],
        }
    }
    permit = permit_of(document, subject_with([]))
    message = call("get", '{"i": "my secret"}').encode()
    found = explain_message(policy_of(document), permit, Direction.CLIENT, Kind.TEXT, message)
    (step,) = found.calls
    assert (found.passes, found.label) == (False, "invalid-message")
    assert set(step.faults) == {"/params: required", "/params/i: type"}
    assert "secret" not in repr(found)


def test_what_is_not_read() -> None:
    permit = permit_of(DOCUMENT, subject_with([]))
    found = explain_message(policy_of(DOCUMENT), permit, Direction.SERVER, Kind.BINARY, b"\xff")
    assert found.passes
    assert "it is not read" in found.detail


def test_an_answer_without_its_question() -> None:
    digest = "ab" * 32
    document = {
        "messages": {
            "protocol": "graphql-transport-ws",
            "rules": [
                {"type": "subscribe", "topic": "A", "documents": [digest], "access": "route"},
                {"type": "next", "direction": "server", "topic": "A", "access": "route"},
            ],
        }
    }
    permit = permit_of(document, subject_with([]))
    found = explain_message(
        policy_of(document),
        permit,
        Direction.SERVER,
        Kind.TEXT,
        b'{"id": "1", "type": "next", "payload": {}}',
    )
    assert (found.passes, found.label) == (False, "unknown-operation")
    assert "belongs to what the client began before" in found.detail


@pytest.mark.parametrize(
    ("detail", "direction", "kind", "told"),
    [
        ("", Direction.CLIENT, Kind.TEXT, "unless it says 'fresh' at /a/b: "),
        ("no JSON", Direction.CLIENT, Kind.TEXT, "no JSON; unless it says 'fresh' at /a/b: "),
        ("", Direction.CLIENT, Kind.BINARY, ""),
        ("", Direction.SERVER, Kind.TEXT, ""),
    ],
)
def test_a_fresh_token_goes_by_no_rule(
    detail: str, direction: Direction, kind: Kind, told: str
) -> None:
    found = MessageExplanation(passes=True, detail=detail)
    fresh = Reauthentication(kind="fresh", kind_at=("a", "b"), token_at=("token",))
    said = beside_fresh_tokens(found, fresh, direction, kind)
    assert said.passes
    assert said.detail.startswith(told)
    assert bool(said.detail) is bool(told)
    assert beside_fresh_tokens(found, None, direction, kind) == found
