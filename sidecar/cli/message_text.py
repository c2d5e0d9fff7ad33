"""What an `Explanation` says of a rule and of a message, as text and as a value. Pure."""

from typing import Any

from sidecar.cli.console import paint, table
from sidecar.model.decision import RuleOrigin
from sidecar.model.explanation import CallStep, MessageExplanation


def message_text(message: MessageExplanation) -> str:
    """The calls of a message, and what becomes of it."""
    rows: list[tuple[str, str]] = []
    for call in message.calls:
        topic = "" if call.topic is None else f" {_shown(call.topic)}"
        rows.append(("message", _shown(call.type) + topic))
        rows += [("", line) for line in _call_lines(call)]
    text = f"{table(rows)}\n" if rows else ""
    if message.passes:
        text += f"{paint('passes', 'green')}"
    else:
        text += f"{paint('refused', 'red')} ({message.label})"
    return f"{text}: {message.detail}" if message.detail else text


def _shown(text: str) -> str:
    """What a client wrote; nothing that a terminal would act upon."""
    return text if text.isprintable() else repr(text)


def _call_lines(call: CallStep) -> list[str]:
    return _rule_lines(call) + [
        f"not as its schema says, at {_shown(each)}" for each in call.faults
    ]


def _rule_lines(call: CallStep) -> list[str]:
    if call.rule is None:
        return ["no rule speaks of it"]
    rule = f"rules[{call.rule}]"
    if not call.action:
        return [f"{rule}: access {call.access}"]
    if call.resource is None:
        return [f"{rule}: permission {call.action}, but the message is not clear about which"]
    on = f" on {_shown(call.resource)}" if call.resource else ""
    lines = [f"{rule}: permission {call.action}{on}"]
    return lines if call.origin is None else [*lines, origin_text(call.origin)]


def origin_text(origin: RuleOrigin) -> str:
    """The rule of a principal, and how it came to it."""
    path = " -> ".join(origin.path)
    through = f"through role {path}" if path else "granted to the user directly"
    return f"{origin.effect} {origin.action} on {origin.resource}, {through}"


def origin_value(origin: RuleOrigin) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "effect": origin.effect,
        "action": origin.action,
        "resource": origin.resource,
        "path": list(origin.path),
    }


def message_value(message: MessageExplanation) -> dict[str, Any]:
    """A message as plain values; the keys are stable."""
    return {
        "passes": message.passes,
        "reason": message.label or None,
        "detail": message.detail,
        "calls": [
            {
                "type": call.type,
                "topic": call.topic,
                "rule": call.rule,
                "access": call.access or None,
                "permission": call.action or None,
                "resource": call.resource or None,
                "decided_by": call.origin and origin_value(call.origin),
                "faults": list(call.faults),
            }
            for call in message.calls
        ],
    }
