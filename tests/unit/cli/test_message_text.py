"""Explained messages as text and as values."""

import click
import pytest

from sidecar.cli.message_text import message_text, message_value
from sidecar.model.decision import RuleOrigin
from sidecar.model.explanation import CallStep, MessageExplanation


def shown(message: MessageExplanation) -> str:
    return click.unstyle(message_text(message))


ORIGIN = RuleOrigin("deny", "orders:*", "orders/7", ("clerk", "staff"))
DENIED = CallStep(
    type="SEND", topic="/a", rule=2, action="orders:write", resource="orders/7", origin=ORIGIN
)


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (CallStep(type="a"), ["message  a", "         no rule speaks of it"]),
        (
            CallStep(type="a", rule=0, access="nobody"),
            ["message  a", "         rules[0]: access nobody"],
        ),
        (
            CallStep(type="a", rule=1, action="b:c"),
            [
                "message  a",
                "         rules[1]: permission b:c, but the message is not clear about which",
            ],
        ),
        (
            CallStep(type="a", rule=1, action="b:c", resource=""),
            ["message  a", "         rules[1]: permission b:c"],
        ),
        (
            DENIED,
            [
                "message  SEND /a",
                "         rules[2]: permission orders:write on orders/7",
                "         deny orders:* on orders/7, through role clerk -> staff",
            ],
        ),
    ],
)  # fmt: skip
def test_a_call(call: CallStep, lines: list[str]) -> None:
    text = shown(MessageExplanation(passes=False, label="x", calls=(call,)))
    assert text.splitlines() == [*lines, "refused (x)"]


def test_where_a_message_is_not_as_its_schema_says() -> None:
    faults = ("/params/id: type", "/params/\x1b[2J: maximum")
    call = CallStep(type="a", rule=1, action="b:c", resource="", faults=faults)
    message = MessageExplanation(passes=False, label="invalid-message", calls=(call,))
    assert shown(message).splitlines() == [
        "message  a",
        "         rules[1]: permission b:c",
        "         not as its schema says, at /params/id: type",
        r"         not as its schema says, at '/params/\x1b[2J: maximum'",
        "refused (invalid-message)",
    ]
    assert message_value(message)["calls"][0]["faults"] == list(faults)


def test_what_clients_wrote_does_not_reach_the_terminal() -> None:
    call = CallStep(type="\x1b[2J", topic="a\nb")
    text = shown(MessageExplanation(passes=False, label="unknown-type", calls=(call,)))
    assert text.splitlines()[0] == r"message  '\x1b[2J' 'a\nb'"


def test_what_cannot_be_read() -> None:
    assert (
        shown(MessageExplanation(passes=False, label="unreadable-message", detail="no JSON"))
        == "refused (unreadable-message): no JSON"
    )


def test_values() -> None:
    message = MessageExplanation(passes=False, label="denied-by-rule", calls=(DENIED,))
    assert message_value(message) == {
        "passes": False,
        "reason": "denied-by-rule",
        "detail": "",
        "calls": [
            {
                "type": "SEND",
                "topic": "/a",
                "rule": 2,
                "access": None,
                "permission": "orders:write",
                "resource": "orders/7",
                "decided_by": {
                    "effect": "deny",
                    "action": "orders:*",
                    "resource": "orders/7",
                    "path": ["clerk", "staff"],
                },
                "faults": [],
            }
        ],
    }
