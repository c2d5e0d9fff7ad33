"""The policy of a route that has message rules: what is common to all its connections."""

from dataclasses import dataclass
from typing import Final

from sidecar.authorize.permit import Permit
from sidecar.relay.gate import Gate
from sidecar.relay.message.call import Reader
from sidecar.relay.message.gate import ClosedGate, MessageGate
from sidecar.relay.message.graphql import GraphqlReader
from sidecar.relay.message.json_rpc import JsonRpcReader
from sidecar.relay.message.plain import ErrorTemplate, Hook, HookReader, PlainReader
from sidecar.relay.message.pointer import Pointer
from sidecar.relay.message.rules import RuleSet
from sidecar.relay.message.stomp import StompReader
from sidecar.settings.schema import Messages

GRAPHQL: Final = "graphql-transport-ws"


@dataclass(frozen=True, slots=True, eq=False)
class MessagePolicy:
    """What is common to all connections of a route.

    Attributes:
        settings: the settings.
        rules: the compiled rules.
        error: the error message of the route, where it has one.
        hook: the function that reads messages, where the route names one.
        follows: whether rules ask which operation the upstream's messages belong to.
        reads_bodies: whether rules look into the bodies of STOMP frames.
    """

    settings: Messages
    rules: RuleSet
    error: ErrorTemplate | None
    hook: Hook | None
    follows: bool
    reads_bodies: bool

    def gate(self, permit: Permit, subprotocol: str) -> Gate:
        """The gate of one connection.

        Args:
            permit: its permit.
            subprotocol: that both sides agreed on; ``""`` for none.
        """
        settings = self.settings
        if settings.protocol == GRAPHQL and subprotocol != GRAPHQL:
            return ClosedGate()
        return MessageGate(
            permit, self.rules, self.reader(), settings.refused, settings.longest_bytes
        )

    def reader(self) -> Reader:
        """A reader for one connection."""
        settings = self.settings
        if settings.protocol == "json-rpc":
            return JsonRpcReader(settings.depth, settings.items)
        if settings.protocol == "stomp":
            more = frozenset(name.lower() for name in settings.subscribe_headers)
            return StompReader(settings.depth, settings.items, more, reads_bodies=self.reads_bodies)
        if settings.protocol == GRAPHQL:
            return GraphqlReader(settings.depth, follows=self.follows)
        if self.hook is not None:
            return HookReader(self.hook, self.error, settings.items, settings.depth)
        return PlainReader(
            Pointer(settings.type_pointer),
            None if settings.topic_pointer is None else Pointer(settings.topic_pointer),
            None if settings.id_pointer is None else Pointer(settings.id_pointer),
            self.error,
            settings.depth,
        )
