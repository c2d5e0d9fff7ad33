"""A connection with message rules, as a case file describes it; the relay is played here."""

from typing import Any, Final

import msgspec

from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import IdentityFields
from sidecar.authorize.subject import Subject
from sidecar.model.facts import Session, User
from sidecar.model.need import ABSENT
from sidecar.model.route import RouteMatch
from sidecar.relay.gate import ALLOW, Close, Direction, Drop, Kind, Verdict
from sidecar.relay.message.compilation import compile_messages
from sidecar.relay.message.gate import MessageGate
from sidecar.relay.message.policy import MessagePolicy
from sidecar.route.rules import compile_routes
from sidecar.route.table import RouteTable, resource_of
from sidecar.settings.schema import Cache, Identity, RouteRule
from tests.cases.world import rule_grant

FAR: Final = 10_000.0


def subject_with(rules: list[Any], name: str = "ann") -> Subject:
    """Somebody to whom `rules` are granted directly (``allow orders:read on orders/1``)."""
    session = Session(version=1, id="s1", tenant="acme", subject=name, expires_at=FAR)
    grants = tuple(map(rule_grant, rules))
    user = User(version=1, tenant="acme", subject=name, rules=grants)
    authorizer = Authorizer(Cache(), IdentityFields(Identity()))
    subject = authorizer.subject(name.encode(), session, user, ABSENT, 1.0)
    assert isinstance(subject, Subject)
    return subject


def route_of(document: dict[str, Any]) -> RouteRule:
    """The route of a case file: `messages`, and perhaps `route`."""
    given = {"path": "/ws", "access": "authenticated", **document.get("route", {})}
    return msgspec.convert(
        {**given, "websocket": {"messages": document["messages"]}}, RouteRule, strict=False
    )


def policy_of(document: dict[str, Any]) -> MessagePolicy:
    return compile_messages(route_of(document))


def permit_of(document: dict[str, Any], subject: Subject | None) -> Permit:
    """A permit for the route, its parameters as in `parameters`."""
    table = compile_routes([route_of(document)], default_upstream="app")
    return permit_for(table, subject, document.get("parameters", {}))


def permit_for(table: RouteTable, subject: Subject | None, parameters: dict[str, str]) -> Permit:
    """A permit for the only route of a table."""
    match = RouteMatch(table.routes[0], parameters)
    authorizer = Authorizer(Cache(), IdentityFields(Identity()))
    permit = (
        authorizer.admit(match)
        if subject is None
        else authorizer.authorize(match, resource_of(match), subject)
    )
    assert isinstance(permit, Permit), permit
    return permit


def gate_of(
    document: dict[str, Any], rules: list[Any], policy: MessagePolicy | None = None
) -> MessageGate:
    """The gate of a connection of somebody to whom `rules` are granted."""
    policy = policy or policy_of(document)
    return MessageGate(
        permit_of(document, subject_with(rules)),
        policy.rules,
        policy.reader(),
        policy.settings.refused,
        policy.settings.longest_bytes,
    )


def told(verdict: Verdict) -> Any:
    """A verdict in the words of a case: ``allow``, or what it says."""
    if verdict is ALLOW:
        return "allow"
    if isinstance(verdict, Drop):
        said: dict[str, Any] = {"drop": verdict.label}
        if verdict.to_upstream is not None:
            said["to_upstream"] = verdict.to_upstream.payload.decode()
    else:
        assert isinstance(verdict, Close), verdict
        said = {"close": verdict.code, "label": verdict.label}
        assert verdict.reason == verdict.label
    if verdict.to_client is not None:
        said["to_client"] = verdict.to_client.payload.decode()
    return said


def asked(gate: MessageGate, step: dict[str, Any]) -> Any:
    """What the gate says about one step of a case: `client` or `server`, text or `binary`."""
    direction = Direction.CLIENT if "client" in step else Direction.SERVER
    payload = step[direction.value]
    kind = Kind.BINARY if step.get("binary") else Kind.TEXT
    octets = (
        bytes.fromhex(step["hex"]) if "hex" in step else payload.encode("utf-8", "surrogatepass")
    )
    return told(gate.judge(direction, kind, octets))
