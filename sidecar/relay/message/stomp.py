"""STOMP 1.2 over WebSocket (stomp.github.io/stomp-specification-1.2.html).

A message holds exactly one frame, or line ends alone (a heart-beat). The type of a frame is its
command, its topic the destination; pointers lead to headers (``/headers/receipt``) and, where
`content-type` is JSON, into the body (``/body/order/id``).

Brokers of several versions and languages read differently, so refused are: carriage returns (one
that ends lines at LF alone takes the second of LF CR LF for a line of the head, one of 1.1 keeps
the CR in the value; the clients in use send LF alone) and what else some take for the end of a line
or trim away, names of headers with anything but letters, digits, ``-``, ``_`` and ``.``, headers
given twice or in other case than the standard's, white space around values, a colon or an escape in
a header that decides, a body whose length is not the one announced, NUL in a body without length,
and any frame in parts. Where a rule asks for a header that has several readings, or for something
in a body that is not read, there is nothing clear, and the frame is refused.
"""

import re
from typing import Any, Final

from sidecar.relay.gate import Close, Direction, Drop, Kind
from sidecar.relay.message.call import (
    Call,
    Calls,
    Refusals,
    close_code,
    close_unreadable,
    first_of,
    text,
)
from sidecar.relay.message.document import read_document
from sidecar.relay.message.pointer import MISSING, UNCLEAR
from sidecar.relay.message.refusal import WORDS, Refusal, UnreadableError

HEART_BEAT: Final = "heart-beat"
# Commands that are about a destination; the others belong to the protocol itself.
_ABOUT: Final = {
    Direction.CLIENT: frozenset({"SEND", "SUBSCRIBE"}),
    Direction.SERVER: frozenset({"MESSAGE"}),
}
_CONTROL: Final = {
    Direction.CLIENT: frozenset(
        {"CONNECT", "STOMP", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"}
    ),
    Direction.SERVER: frozenset({"CONNECTED", "RECEIPT", "ERROR"}),
}
# Types that a call can have, by side.
COMMANDS: Final = {side: _ABOUT[side] | _CONTROL[side] | {HEART_BEAT} for side in Direction}
_WITH_BODY: Final = frozenset({"SEND", "MESSAGE", "ERROR"})
# Their headers are not escaped, for the sake of STOMP 1.0.
_UNESCAPED: Final = frozenset({"CONNECT", "CONNECTED"})
_STANDARD: Final = frozenset(
    {"accept-version", "ack", "content-length", "content-type", "destination", "heart-beat", "host",
     "id", "message-id", "receipt", "receipt-id", "subscription", "transaction", "version"}
)  # fmt: skip
# What SUBSCRIBE may have: brokers take others for another destination (RabbitMQ's x-queue-name).
_OF_SUBSCRIBE: Final = frozenset(
    {"ack", "content-length", "destination", "id", "receipt", "selector"}
)
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_LINE_ENDS: Final = re.compile(rb"\n*")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
# Ends of lines to somebody (Python's `splitlines`, JavaScript's `^`), or trimmed as space (Java).
_CONTROLS: Final = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# No other encoding: an application that honours it would read another body than we do.
_JSON: Final = re.compile(r'application/json(?:; ?charset="?utf-8"?)?', re.IGNORECASE | re.ASCII)
_ONE_READING: Final = re.compile(r"[^\\:]*")
# Names that one side draws and the other repeats; ActiveMQ's have colons, escaped or not.
_DRAWN: Final = frozenset({"ack", "id", "message-id", "subscription"})
_DRAWN_VALUE: Final = re.compile(r"(?:[^\\]|\\c)*")


class StompReader:
    """Reads frames.

    Args:
        depth: how deeply objects and arrays may be nested in a body.
        most: most headers of a frame.
        subscribes_with: names of headers, in lower case, that `SUBSCRIBE` may have beside the
            standard's.
        reads_bodies: whether any rule looks into a body.
    """

    __slots__ = ("_depth", "_most", "_of_subscribe", "_reads_bodies")

    def __init__(
        self,
        depth: int,
        most: int,
        subscribes_with: frozenset[str] = frozenset(),
        *,
        reads_bodies: bool,
    ) -> None:
        self._depth = depth
        self._most = most
        self._of_subscribe = _OF_SUBSCRIBE | subscribes_with
        self._reads_bodies = reads_bodies

    def read(
        self,
        direction: Direction,
        kind: Kind,  # noqa: ARG002 - a frame is the same in either
        payload: bytes,
    ) -> Calls:
        """One call."""
        if _LINE_ENDS.fullmatch(payload):
            return (Call(HEART_BEAT, is_control=True),)
        command, headers, body = self._frame(payload)
        is_control = command in _CONTROL[direction]
        topic = headers.get("destination")
        if not is_control and command not in _ABOUT[direction]:
            raise UnreadableError("no command of STOMP 1.2 for this side")
        if is_control is (topic is not None):
            raise UnreadableError("a frame has a destination if, and only if, it is about one")
        if body and command not in _WITH_BODY:
            raise UnreadableError("a body that the command does not have")
        fields: dict[str, Any] = {"headers": headers}
        if self._reads_bodies and command in _WITH_BODY:
            if _JSON.fullmatch(headers.get("content-type", "")):
                fields["body"] = read_document(body, self._depth)
            elif body:
                fields["body"] = UNCLEAR
        receipt = headers.get("receipt", MISSING)
        if receipt is UNCLEAR:
            receipt = MISSING
        return (Call(command, topic, fields, receipt, is_control=is_control),)

    def allowed(self, direction: Direction, calls: Calls) -> None:
        """No message depends on an earlier one."""

    def refused(self, calls: Calls, refusals: Refusals) -> Drop | Close:
        """An ERROR frame, after which the connection ends (section ERROR)."""
        refusal = first_of(refusals)
        return _error(refusal, close_code(refusal), calls[0].id)

    def withheld(self, calls: Calls, refusals: Refusals) -> Drop:  # noqa: ARG002 - the protocol's
        """Nobody is told; a subscription that acknowledges waits for this one (docs)."""
        return Drop(first_of(refusals).value)

    def unreadable(self, wrong: UnreadableError) -> Drop | Close:
        """An ERROR frame and the end."""
        return _error(wrong.refusal, close_unreadable(wrong).code, MISSING)

    def _frame(self, payload: bytes) -> tuple[str, dict[str, Any], bytes]:
        """Command, headers, body."""
        end = payload.find(b"\n\n")
        if end < 0:
            raise UnreadableError("a frame without an end")
        try:
            head = payload[:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnreadableError("the head is no UTF-8") from error
        if _CONTROLS.search(head) is not None:
            raise UnreadableError("a control character")
        command, *lines = head.split("\n")
        if len(lines) > self._most:
            raise UnreadableError(f"more than {self._most} headers")
        headers, names = _headers(lines, escaped=command not in _UNESCAPED)
        if command == "SUBSCRIBE" and not names <= self._of_subscribe:
            raise UnreadableError("a header that may mean another destination")
        return command, headers, _body(payload, end + 2, headers.get("content-length"))


def is_header_name(name: str) -> bool:
    """Whether a frame may have a header of that name."""
    return _NAME.fullmatch(name) is not None


def is_header_value(value: str) -> bool:
    """Whether a header with that value is read in one way, so that a rule may ask for it."""
    return (
        value.isprintable() and value == value.strip() and _ONE_READING.fullmatch(value) is not None
    )


def _headers(lines: list[str], *, escaped: bool) -> tuple[dict[str, Any], set[str]]:
    """The headers, `UNCLEAR` where a value has several readings, and their names in lower case."""
    headers: dict[str, Any] = {}
    seen: set[str] = set()
    for line in lines:
        name, colon, value = line.partition(":")
        folded = name.lower()
        if not colon or _NAME.fullmatch(name) is None:
            raise UnreadableError("no header")
        if folded in seen or (folded in _STANDARD and name != folded):
            raise UnreadableError("a header twice, or in other case")
        if value != value.strip():
            raise UnreadableError("white space around a value")
        seen.add(folded)
        # JavaScript trims U+FEFF away, others U+200B.
        has_one = value.isprintable() and _ONE_READING.fullmatch(value) is not None
        if (
            not has_one
            and folded in _STANDARD
            and not _may_be_unclear(folded, value, escaped=escaped)
        ):
            raise UnreadableError("a header that decides has several readings")
        headers[name] = value if has_one else UNCLEAR
    return headers, seen


def _may_be_unclear(name: str, value: str, *, escaped: bool) -> bool:
    """Whether a standard header may have such a value as long as no rule asks for it."""
    if not value.isprintable() or name == "content-length":
        return False
    return not escaped or (name in _DRAWN and _DRAWN_VALUE.fullmatch(value) is not None)


def _body(payload: bytes, begin: int, announced: str | None) -> bytes:
    if announced is None:
        end = payload.find(b"\0", begin)
    elif _LENGTH.fullmatch(announced):
        end = begin + int(announced)
    else:
        raise UnreadableError("no length")
    if end < 0 or payload[end : end + 1] != b"\0":
        raise UnreadableError("the frame does not end where it should")
    if not _LINE_ENDS.fullmatch(payload, end + 1):
        raise UnreadableError("more than one frame")
    return payload[begin:end]


def _error(refusal: Refusal, code: int, receipt: Any) -> Close:
    head = f"ERROR\nmessage:{refusal.value}\ncontent-type:text/plain\n"
    if receipt is not MISSING:
        head += f"receipt-id:{receipt}\n"
    frame = f"{head}\n{WORDS[refusal]}\0".encode()
    return Close(refusal.value, code, refusal.value, text(frame))
