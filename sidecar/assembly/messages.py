"""The gates of all routes that have message rules."""

from collections.abc import Sequence

from sidecar.authorize.permit import Permit
from sidecar.model.route import Route
from sidecar.relay.gate import Gate
from sidecar.relay.message.compilation import compile_messages
from sidecar.relay.message.policy import MessagePolicy
from sidecar.settings.schema import RouteRule


class MessageGates:
    """Makes the gate of each connection (`sidecar.relay.gate.GateMaker`).

    Args:
        rules: the routes of the settings.
        routes: the same compiled, in the same order; our own routes may stand before them.

    Attributes:
        policies: of the routes that have message rules.

    Raises:
        MessagesError: something is wrong with the rules of a route; the settings were not checked,
            or a hook cannot be imported.
    """

    __slots__ = ("policies",)

    def __init__(self, rules: Sequence[RouteRule], routes: Sequence[Route]) -> None:
        self.policies: dict[Route, MessagePolicy] = {
            route: compile_messages(rule)
            for rule, route in zip(rules, routes[len(routes) - len(rules) :], strict=True)
            if rule.websocket is not None and rule.websocket.messages is not None
        }

    def __call__(self, permit: Permit, subprotocol: str) -> Gate | None:
        """The gate of one connection; None where its route has no message rules."""
        policy = self.policies.get(permit.route)
        return None if policy is None else policy.gate(permit, subprotocol)
