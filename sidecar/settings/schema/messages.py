"""`routes[].websocket.messages`: which messages may pass."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from sidecar.settings.schema.base import Settings


class MessageRule(Settings, frozen=True):
    """One rule for messages. The first that fits a message decides (docs/websocket.md).

    Attributes:
        direction: who sent it: ``client``, or ``server`` for the application.
        type: pattern of its type: ``orders.read``, ``orders.*``, ``SEND``, ``subscribe``.
        topic: pattern of its topic: ``/topic/orders/{order_id}``, or for GraphQL the name of the
            operation; left out, any.
        where: JSON pointer to the value that must stand there. ``true``, ``false``, ``null`` and
            whole numbers are these (in quotes, for YAML), anything else is text.
        documents: for GraphQL the SHA-256 of each document, in hexadecimal, that the rule is about.
        any_document: instead, that the permission covers whatever an operation may do.
        access: ``route``, whoever may use the route; ``nobody``; left out where `permission` is
            given.
        permission: the action asked, e.g. ``orders:read``.
        resource: e.g. ``orders/{order_id}``, from the parameters of the route's path, of `type` and
            `topic`, and from `fields`.
        fields: name for `resource`: JSON pointer to the value, text or a whole number.
        schema: JSON Schema that the message, its params, body or variables must satisfy, too: here,
            or the name of a JSON file with it, from the folder of the configuration.
    """

    type: str
    direction: Literal["client", "server"] = "client"
    topic: str | None = None
    where: dict[str, str] = field(default_factory=dict)
    documents: tuple[str, ...] = ()
    any_document: bool = False
    access: Literal["route", "nobody"] | None = None
    permission: str | None = None
    resource: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    schema: dict[str, Any] | None = None


class Messages(Settings, frozen=True):
    """Which messages may pass. They are read, so nothing is compressed on such a route.

    Attributes:
        protocol: how messages are read; ``hook`` is a function of yours.
        rules: which of them may pass.
        type_pointer: for ``json``, where a message says its type (a JSON pointer, RFC 6901).
        topic_pointer: for ``json``, where it says its topic.
        id_pointer: for ``json``, where it says its id, for `error`.
        error: for ``json`` and ``hook``, the message that a client gets for one that was refused:
            JSON in which ``"{id}"``, ``"{type}"``, ``"{code}"`` and ``"{message}"`` are filled in.
        hook: ``module:function``, which reads messages (docs/websocket.md).
        subscribe_headers: for ``stomp``, headers that `SUBSCRIBE` may have beside the standard's.
            Brokers take some for another destination, so others are refused.
        refused: what the client gets: ``reply``, an error in its protocol (STOMP then closes);
            ``drop``, nothing; ``close``, the end of the connection (4403).
        unknown: what happens to messages of clients that no rule speaks of.
        unknown_from_server: the same for the application's, where any rule speaks of those; where
            none does, they pass unread.
    """

    protocol: Literal["json", "json-rpc", "stomp", "graphql-transport-ws", "hook"]
    rules: Annotated[tuple[MessageRule, ...], Meta(min_length=1)]
    type_pointer: str = "/type"
    topic_pointer: str | None = None
    id_pointer: str | None = None
    error: str | None = None
    hook: str | None = None
    subscribe_headers: tuple[str, ...] = ()
    refused: Literal["reply", "drop", "close"] = "reply"
    unknown: Literal["refuse", "allow"] = "refuse"
    unknown_from_server: Literal["refuse", "allow"] = "refuse"
    # Reading holds everybody up for a moment: a usual message 10 us, the worst of 64 KiB 5 ms.
    longest_bytes: Annotated[int, Meta(ge=125)] = 65_536
    # Objects and arrays within each other, hooks' too; protocols in use stay below ten.
    depth: Annotated[int, Meta(ge=1, le=128)] = 32
    # Calls of a JSON-RPC batch or a hook, headers of a STOMP frame.
    items: Annotated[int, Meta(ge=1, le=1000)] = 50
