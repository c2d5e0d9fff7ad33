"""An explanation says what the gate says, and why."""

from typing import Any, Final

import pytest

from sidecar.model.decision import RuleOrigin
from sidecar.model.explanation import CallStep, MessageExplanation
from sidecar.relay.gate import Direction, Kind
from sidecar.relay.message.explaining import explain_message
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
