"""Which GraphQL operation an id stands for, on one connection.

The upstream's answers name their operation by its id alone, so an id that stood for two would let
answers of one be judged as the other's. Messages of both sides cross on the wire, and servers free
ids in their own ways (graphql-ws forgets one when the *first* run under it is over, whatever began
meanwhile). So an id is free for another operation only after the one simple life: begun once,
never ended by the client, ended by the upstream. Otherwise it stands for its operation as long as
the connection lives. To begin the same operation again is always possible.
"""

from typing import Final

from sidecar.relay.message.refusal import Refusal, UnreadableError

# Operations of one connection whose ids are remembered: about 0.2 KB each.
_MOST: Final = 1024
# PROTOCOL.md: "Subscriber for <id> already exists". 1013 (try again later): a new connection begins
# anew, and clients connect again by themselves.
_ID_IN_USE_CODE: Final = 4409
_TOO_MANY_CODE: Final = 1013

# Its name, and the digest of its document.
Operation = tuple[str | None, str]


class Operations:
    """What the ids of one connection stand for."""

    __slots__ = ("_by_id", "_kept", "_known")

    def __init__(self) -> None:
        self._by_id: dict[str, Operation] = {}
        # Ids whose operation was begun again or ended by the client.
        self._kept: set[str] = set()
        # Few operations under many ids: each is kept once.
        self._known: dict[Operation, Operation] = {}

    def check(self, id_value: str, operation: Operation) -> None:
        """Refuse an id that may not stand for `operation`.

        Raises:
            UnreadableError: it stood for another, or there are too many; with its close code.
        """
        former = self._by_id.get(id_value)
        if former is None and len(self._by_id) >= _MOST:
            raise UnreadableError(
                "too many operations on one connection",
                refusal=Refusal.UNKNOWN_OPERATION,
                close_code=_TOO_MANY_CODE,
            )
        if former is not None and former != operation:
            raise UnreadableError(
                "the id stood for another operation",
                refusal=Refusal.UNKNOWN_OPERATION,
                close_code=_ID_IN_USE_CODE,
            )

    def find(self, id_value: str) -> Operation:
        """The operation that an answer belongs to.

        Raises:
            UnreadableError: none was let through.
        """
        operation = self._by_id.get(id_value)
        if operation is None:
            raise UnreadableError(
                "no such operation was let through", refusal=Refusal.UNKNOWN_OPERATION
            )
        return operation

    def begun(self, id_value: str, operation: Operation) -> None:
        """The client's `subscribe` goes on."""
        if id_value in self._by_id:
            self._kept.add(id_value)
        else:
            self._by_id[id_value] = self._known.setdefault(operation, operation)

    def ended_by_client(self, id_value: str) -> None:
        """The client's `complete` goes on; answers may be under way, and a server's `complete`."""
        if id_value in self._by_id:
            self._kept.add(id_value)

    def ended_by_server(self, id_value: str) -> None:
        """The upstream's `complete` or `error`: nothing follows under this id."""
        if id_value in self._kept:
            return
        self._by_id.pop(id_value, None)
        if not self._by_id:
            self._known.clear()
