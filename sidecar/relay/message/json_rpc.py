"""JSON-RPC 2.0 over WebSocket (jsonrpc.org/specification).

The type of a request or notification is its method; of a response it is ``rpc.response``: names
that begin with ``rpc.`` are reserved. Pointers start at the object itself (``/params/order_id``),
in a batch each at its own.

A batch is allowed or refused as a whole. Sending on a part of it would be another message than the
one that was read, and its answer another than the one array that the specification promises; so
when one call is refused, all requests of the batch are answered with errors, and none is executed.
"""

import json
from typing import Any, Final

from sidecar.relay.gate import Close, Direction, Drop, Kind, Message
from sidecar.relay.message.call import Call, Calls, Refusals, first_of, text
from sidecar.relay.message.document import read_document
from sidecar.relay.message.pointer import MISSING, Pointer
from sidecar.relay.message.refusal import WORDS, Refusal, UnreadableError

RESPONSE: Final = "rpc.response"
# Section 5.1: parse error; -32000 to -32099 are for implementations.
_UNREADABLE: Final = -32700
_REFUSED: Final = -32003
# Section 5.1: invalid params.
_INVALID: Final = -32602

_VERSION_AT: Final = Pointer("/jsonrpc")
_METHOD_AT: Final = Pointer("/method")
_PARAMS_AT: Final = Pointer("/params")
_ID_AT: Final = Pointer("/id")
_RESULT_AT: Final = Pointer("/result")
_ERROR_AT: Final = Pointer("/error")


class JsonRpcReader:
    """Reads requests, notifications, responses and batches.

    Args:
        depth: how deeply objects and arrays may be nested.
        most: most calls of a batch.
    """

    __slots__ = ("_depth", "_most")

    def __init__(self, depth: int, most: int) -> None:
        self._depth = depth
        self._most = most

    def read(
        self,
        direction: Direction,  # noqa: ARG002 - both sides speak the same
        kind: Kind,
        payload: bytes,
    ) -> Calls:
        """One call for each object."""
        if kind is not Kind.TEXT:
            raise UnreadableError("JSON-RPC comes in text messages")
        document = read_document(payload, self._depth)
        if not isinstance(document, list):
            return (_call(document),)
        if not 0 < len(document) <= self._most:
            raise UnreadableError(f"a batch has 1 to {self._most} calls")
        calls = [_call(each) for each in document]
        if len({call.type == RESPONSE for call in calls}) > 1:
            raise UnreadableError("a batch of requests and responses")
        ids = [call.id for call in calls if call.id is not MISSING]
        if len(set(ids)) != len(ids):
            raise UnreadableError("two calls of a batch have the same id")
        return calls

    def allowed(self, direction: Direction, calls: Calls) -> None:
        """No message depends on an earlier one."""

    def refused(self, calls: Calls, refusals: Refusals) -> Drop | Close:
        """An error object for each request; notifications and responses are never answered."""
        return Drop(first_of(refusals).value, _errors(calls, refusals, responses=False))

    def withheld(self, calls: Calls, refusals: Refusals) -> Drop:
        """Whoever waits for an answer gets an error: the client's request, or the upstream's."""
        return Drop(
            first_of(refusals).value,
            to_client=_errors(calls, refusals, responses=True),
            to_upstream=_errors(calls, refusals, responses=False),
        )

    def unreadable(self, wrong: UnreadableError) -> Drop | Close:
        """A parse error, whose id is null because none could be read (section 5)."""
        return Drop(wrong.refusal.value, _message(_error(None, _UNREADABLE, wrong.refusal)))


def _call(document: Any) -> Call:
    if not isinstance(document, dict) or _VERSION_AT.find(document) != "2.0":
        raise UnreadableError("no JSON-RPC 2.0")
    method, id_value = _METHOD_AT.find(document), _ID_AT.find(document)
    if isinstance(id_value, bool) or not isinstance(id_value, str | int | None | _Absent):
        raise UnreadableError("an id is text, a whole number or null")
    answers = _RESULT_AT.find(document) is not MISSING, _ERROR_AT.find(document) is not MISSING
    if method is MISSING:
        if answers not in {(True, False), (False, True)} or id_value is MISSING:
            raise UnreadableError("neither a request nor a response")
        return Call(RESPONSE, None, document, id_value)
    if any(answers):
        raise UnreadableError("both a request and a response")
    if not isinstance(method, str) or method == RESPONSE:
        raise UnreadableError("no name of a method")
    if not isinstance(_PARAMS_AT.find(document), dict | list | _Absent):
        raise UnreadableError("params are an object or an array")
    if id_value is None:
        # Some take it for a request, some for a notification (section 4).
        raise UnreadableError("the id of a request is not null")
    return Call(method, None, document, id_value)


def _errors(calls: Calls, refusals: Refusals, *, responses: bool) -> Message | None:
    """Errors for those who wait: for what these responses answer, or for these requests."""
    found = [
        _refused(call.id, refusal or Refusal.BATCH_REFUSED)
        for call, refusal in zip(calls, refusals, strict=True)
        if call.id is not MISSING and (call.type == RESPONSE) is responses
    ]
    if not found:
        return None
    return _message(found if isinstance(calls, list) else found[0])


def _refused(id_value: Any, refusal: Refusal) -> dict[str, Any]:
    return _error(id_value, _INVALID if refusal is Refusal.INVALID else _REFUSED, refusal)


def _error(id_value: Any, code: int, refusal: Refusal) -> dict[str, Any]:
    error = {"code": code, "message": WORDS[refusal], "data": {"reason": refusal.value}}
    return {"jsonrpc": "2.0", "error": error, "id": id_value}


def _message(content: Any) -> Message:
    return text(json.dumps(content, separators=(",", ":")).encode("ascii"))


_Absent = type(MISSING)
