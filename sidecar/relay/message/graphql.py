"""GraphQL over WebSocket, subprotocol ``graphql-transport-ws``.

(github.com/enisdenjo/graphql-ws, PROTOCOL.md.) The type of a call is the type of the message, its
topic the name of the operation; pointers start at the message (``/payload/variables/order_id``).

What an operation does is in its document, and the name that a client gives it binds nobody. No
document is parsed here: aliases, fragments and directives let one mean nearly anything. So a rule
lists the documents it speaks of, by their SHA-256 (as trusted documents are registered elsewhere),
or says that any will do; no other operation is let through.

The upstream's messages name an operation by its id only. Where rules filter them, the reader
remembers which operation an id stands for, for as long as the connection lives: messages of the
old one may still be under way when a client uses its id again, so it may not stand for another.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from sidecar.relay.gate import Close, Direction, Drop, Kind, Message
from sidecar.relay.message.call import Call, Calls, Refusals, close_unreadable, first_of, text
from sidecar.relay.message.document import read_document
from sidecar.relay.message.operations import Operations
from sidecar.relay.message.pointer import MISSING
from sidecar.relay.message.refusal import WORDS, UnreadableError

SUBSCRIBE: Final = "subscribe"
NEXT: Final = "next"
# Type -> whether it has an id, and whether it belongs to the protocol itself.
TYPES: Final[dict[Direction, dict[str, tuple[bool, bool]]]] = {
    Direction.CLIENT: {
        "connection_init": (False, True),
        "ping": (False, True),
        "pong": (False, True),
        SUBSCRIBE: (True, False),
        "complete": (True, True),
    },
    Direction.SERVER: {
        "connection_ack": (False, True),
        "ping": (False, True),
        "pong": (False, True),
        NEXT: (True, False),
        "error": (True, True),
        "complete": (True, True),
    },
}
_ENDS: Final = frozenset({"error", "complete"})
_KEYS: Final = frozenset({"id", "type", "payload"})
_OPERATION_KEYS: Final = frozenset({"operationName", "query", "variables", "extensions"})
# Clients use UUIDs or counters; schemas have shorter names.
_LONGEST_ID: Final = 64
_LONGEST_NAME: Final = 128


class GraphqlReader:
    """Reads the messages of one connection.

    Args:
        depth: how deeply objects and arrays may be nested.
        follows: whether rules ask which operation the upstream's messages belong to.
    """

    __slots__ = ("_depth", "_operations")

    def __init__(self, depth: int, *, follows: bool) -> None:
        self._depth = depth
        self._operations = Operations() if follows else None

    def read(self, direction: Direction, kind: Kind, payload: bytes) -> Calls:
        """One call."""
        if kind is not Kind.TEXT:
            raise UnreadableError("graphql-transport-ws has text messages only")
        document = read_document(payload, self._depth)
        if not isinstance(document, dict) or not document.keys() <= _KEYS:
            raise UnreadableError("no message of graphql-transport-ws")
        type_name, id_value = document.get("type"), document.get("id", MISSING)
        known = TYPES[direction].get(type_name) if isinstance(type_name, str) else None
        if known is None or not isinstance(type_name, str):
            raise UnreadableError("no type of graphql-transport-ws")
        has_id, is_control = known
        if not _is_id(id_value) if has_id else id_value is not MISSING:
            raise UnreadableError("an id where there is none, or none where there is one")
        if type_name == SUBSCRIBE:
            return (self._subscribe(document, id_value),)
        if type_name == NEXT and self._operations is not None:
            topic, digest = self._operations.find(id_value)
            return (Call(NEXT, topic, document, id_value, digest=digest),)
        return (Call(type_name, None, document, id_value, is_control=is_control),)

    def allowed(self, direction: Direction, calls: Calls) -> None:
        """Remember which operation an id stands for."""
        operations = self._operations
        if operations is None:
            return
        for call in calls:
            if call.type == SUBSCRIBE:
                operations.begun(call.id, (call.topic, call.digest))
            elif call.type in _ENDS:
                if direction is Direction.CLIENT:
                    operations.ended_by_client(call.id)
                else:
                    operations.ended_by_server(call.id)

    def refused(self, calls: Calls, refusals: Refusals) -> Drop | Close:
        """An `error` message for the operation, which is then over."""
        first = first_of(refusals)
        if calls[0].id is MISSING:
            return Drop(first.value)
        error = {"message": WORDS[first], "extensions": {"code": first.value}}
        return Drop(first.value, _message({"id": calls[0].id, "type": "error", "payload": [error]}))

    def withheld(self, calls: Calls, refusals: Refusals) -> Drop:  # noqa: ARG002 - the protocol's
        """Nobody is told: the subscription goes on with what may be read."""
        return Drop(first_of(refusals).value)

    def unreadable(self, wrong: UnreadableError) -> Drop | Close:
        """The end, with 4400 (PROTOCOL.md, "Invalid message")."""
        return close_unreadable(wrong)

    def _subscribe(self, document: Mapping[str, Any], id_value: str) -> Call:
        payload = document.get("payload")
        if not isinstance(payload, dict) or not payload.keys() <= _OPERATION_KEYS:
            raise UnreadableError("no operation of GraphQL")
        name, query = payload.get("operationName"), payload.get("query")
        variables, extensions = payload.get("variables"), payload.get("extensions")
        if not (
            isinstance(name, str | None)
            and len(name or "") <= _LONGEST_NAME
            and isinstance(query, str)
            and isinstance(variables, dict | None)
            and isinstance(extensions, dict | None)
        ):
            raise UnreadableError("no operation of GraphQL")
        digest = sha256(query.encode("utf-8")).hexdigest()
        if extensions and not _only_repeats(extensions, digest):
            # Something may stand there that an upstream runs instead of the document.
            digest = ""
        if self._operations is not None:
            self._operations.check(id_value, (name or None, digest))
        return Call(SUBSCRIBE, name or None, document, id_value, digest=digest)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID


def _only_repeats(extensions: Mapping[str, Any], digest: str) -> bool:
    """Whether the extensions say no more than which document this is (persisted queries)."""
    persisted = extensions.get("persistedQuery")
    return (
        extensions.keys() == {"persistedQuery"}
        and isinstance(persisted, dict)
        and persisted.keys() <= {"version", "sha256Hash"}
        and persisted.get("sha256Hash") == digest
    )


def _message(content: Any) -> Message:
    return text(json.dumps(content, separators=(",", ":")).encode("ascii"))
