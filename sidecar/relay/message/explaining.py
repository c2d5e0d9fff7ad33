"""Why a message would pass or not, as plain values. The verdict itself is the gate's."""

from dataclasses import replace

from sidecar.authorize.permit import Permit
from sidecar.model.decision import Missing, RuleOrigin
from sidecar.model.explanation import CallStep, MessageExplanation
from sidecar.model.websocket import Reauthentication
from sidecar.relay.gate import ALLOW, Allowed, Direction, Kind
from sidecar.relay.message.call import Call
from sidecar.relay.message.policy import GRAPHQL, MessagePolicy
from sidecar.relay.message.refusal import Refusal, UnreadableError


def explain_message(
    policy: MessagePolicy, permit: Permit, direction: Direction, kind: Kind, payload: bytes
) -> MessageExplanation:
    """What a new connection would do with `payload` as its first message.

    Args:
        policy: of the route.
        permit: of the connection.
        direction: who sends it.
        kind: text or binary.
        payload: the message.
    """
    verdict = policy.gate(permit, GRAPHQL).judge(direction, kind, payload)
    if isinstance(verdict, Missing):
        raise TypeError("nothing is ever missing for a message")
    passes = verdict is ALLOW
    label = "" if isinstance(verdict, Allowed) else verdict.label
    unread = direction is Direction.SERVER and not policy.rules.reads_server
    try:
        calls = () if unread else policy.reader().read(direction, kind, payload)
        steps = tuple(_step(policy, permit, direction, call) for call in calls)
    except UnreadableError as wrong:
        detail = str(wrong)
        if direction is Direction.SERVER and wrong.refusal is Refusal.UNKNOWN_OPERATION:
            detail += ": an answer belongs to what the client began before, and nothing was here"
        return MessageExplanation(passes=passes, label=label, detail=detail)
    detail = "no rule speaks of what the application sends: it is not read" if unread else ""
    return MessageExplanation(passes=passes, label=label, detail=detail, calls=steps)


def beside_fresh_tokens(
    found: MessageExplanation, fresh: Reauthentication | None, direction: Direction, kind: Kind
) -> MessageExplanation:
    """Adds that a message may be taken for a fresh token before any rule is asked.

    Args:
        found: what the rules say.
        fresh: how such messages look on this route; None for none.
        direction: who sends the message.
        kind: text or binary.
    """
    if fresh is None or direction is not Direction.CLIENT or kind is not Kind.TEXT:
        return found
    place = "/" + "/".join(fresh.kind_at)
    note = f"unless it says '{fresh.kind}' at {place}: that goes to the sidecar itself, by no rule"
    return replace(found, detail=f"{found.detail}; {note}" if found.detail else note)


def _step(policy: MessagePolicy, permit: Permit, direction: Direction, call: Call) -> CallStep:
    found = policy.rules.find(direction, call)
    if found is None:
        return CallStep(type=call.type, topic=call.topic)
    rule, captured = found
    resource, origin = None, None
    if rule.action:
        resource = rule.resource_of(call, captured, permit.parameters)
        origin = _origin(permit, rule.action, resource)
    return CallStep(
        type=call.type,
        topic=call.topic,
        rule=rule.index,
        access="nobody" if rule.is_forbidden else "" if rule.action else "route",
        action=rule.action,
        resource=resource,
        origin=origin,
        faults=() if rule.schema is None else rule.schema.faults(call),
    )


def _origin(permit: Permit, action: str, resource: str | None) -> RuleOrigin | None:
    if permit.subject is None or resource is None:
        return None
    return permit.subject.check(action, resource)
