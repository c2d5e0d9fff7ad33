"""Each route with message rules has its gates; others have none."""

from typing import Any, Final

from sidecar.assembly.messages import MessageGates
from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.permit import Permit
from sidecar.authorize.principal import IdentityFields
from sidecar.model.route import RouteMatch
from sidecar.relay.gate import ALLOW, Close, Direction, Kind
from sidecar.route.rules import compile_route, compile_routes
from sidecar.settings.schema import Cache, Identity, RouteRule, WebSocketRule
from tests.cases.messages.world import route_of

JSON: Final[dict[str, Any]] = {
    "messages": {
        "protocol": "json",
        "refused": "close",
        "rules": [{"type": "x", "access": "route"}],
    },
    "route": {"path": "/json", "access": "public"},
}
GRAPHQL: Final[dict[str, Any]] = {
    "messages": {
        "protocol": "graphql-transport-ws",
        "rules": [{"type": "ping", "access": "route"}],
    },
    "route": {"path": "/graphql", "access": "public"},
}
RULES: Final = (
    RouteRule(path="/none", access="public"),
    route_of(JSON),
    RouteRule(path="/unread", access="public", websocket=WebSocketRule()),
    route_of(GRAPHQL),
)


def gates_and_permits() -> tuple[MessageGates, list[Permit]]:
    own = compile_route("/_sidecar/x", name="x", methods=("GET",), upstream="sidecar")
    table = compile_routes(RULES, default_upstream="app", own=[own])
    authorizer = Authorizer(Cache(), IdentityFields(Identity()))
    permits = []
    for route in table.routes:
        permit = authorizer.admit(RouteMatch(route, {}))
        assert isinstance(permit, Permit)
        permits.append(permit)
    return MessageGates(RULES, table.routes), permits


def test_only_routes_with_rules_have_gates() -> None:
    gates, permits = gates_and_permits()
    assert [gates(permit, "graphql-transport-ws") is not None for permit in permits] == [
        False, False, True, False, True
    ]  # fmt: skip


def test_gates_read_what_was_agreed_on() -> None:
    gates, permits = gates_and_permits()
    ping = b'{"type": "ping"}'
    agreed = gates(permits[4], "graphql-transport-ws")
    assert agreed is not None
    assert agreed.judge(Direction.CLIENT, Kind.TEXT, ping) is ALLOW
    for other in ("", "graphql-ws"):
        gate = gates(permits[4], other)
        assert gate is not None
        gate.loaded({})
        gate.renewed(permits[4])
        for direction in Direction:
            verdict = gate.judge(direction, Kind.TEXT, ping)
            assert isinstance(verdict, Close)
            assert (verdict.code, verdict.label) == (4406, "wrong-subprotocol")


def test_routes_know_that_their_messages_are_read() -> None:
    table = compile_routes(RULES, default_upstream="app")
    policies = [route.websocket for route in table.routes]
    assert [policy and policy.reads_messages for policy in policies] == [None, True, False, True]
