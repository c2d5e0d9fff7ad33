"""Plain JSON: the route says by pointers where a message names its type, its topic and its id.

Also what a registered hook reads: then the hook finds the calls, and the rest is the same.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from sidecar.relay.gate import Close, Direction, Drop, Kind
from sidecar.relay.message.call import Call, Calls, Refusals, close_unreadable, first_of, text
from sidecar.relay.message.document import outgrows, read_document
from sidecar.relay.message.pointer import MISSING, Pointer, Unclear
from sidecar.relay.message.refusal import WORDS, Refusal, UnreadableError

# Direction (``client`` or ``server``), whether the message is text, its payload -> its calls.
Hook = Callable[[str, bool, bytes], Iterable[Call]]

# Values in the fields of a message's calls; more where it has more octets. A format with references
# (YAML) makes millions of values out of a few octets.
_MOST_VALUES: Final = 65_536

PLACEHOLDERS: Final = ("{id}", "{type}", "{code}", "{message}")
# What looks like one, and what stands for itself as it is not the whole string.
_LIKE_ONE: Final = re.compile(r"\{\w+\}|.*\{(?:id|type|code|message)\}.*", re.DOTALL)


class ErrorTemplate:
    """The error message of a route: JSON in which whole strings stand for what is filled in.

    ``"{id}"`` becomes the id of the message (null where it has none), ``"{type}"`` its type,
    ``"{code}"`` the code of the refusal and ``"{message}"`` a sentence.

    Args:
        template: the JSON text.

    Raises:
        UnreadableError: it is no JSON.
    """

    __slots__ = ("_document",)

    def __init__(self, template: str) -> None:
        self._document = read_document(template.encode("utf-8", "surrogatepass"))

    def odd(self) -> tuple[str, ...]:
        """Strings that look as if something were filled in, which it is not."""
        return tuple(
            each
            for each in _strings(self._document)
            if each not in PLACEHOLDERS and _LIKE_ONE.fullmatch(each)
        )

    def fill(self, call: Call | None, refusal: Refusal) -> bytes:
        """The message about `call`; None where it could not be read."""
        known = call is not None and call.id is not MISSING
        values = {
            "{id}": call.id if call is not None and known else None,
            "{type}": call.type if call is not None else None,
            "{code}": refusal.value,
            "{message}": WORDS[refusal],
        }
        return json.dumps(_filled(self._document, values), separators=(",", ":")).encode("ascii")


def _strings(template: Any) -> Iterator[str]:
    if isinstance(template, dict):
        template = list(template.values())
    if isinstance(template, list):
        for each in template:
            yield from _strings(each)
    elif isinstance(template, str):
        yield template


def _filled(template: Any, values: dict[str, Any]) -> Any:
    if isinstance(template, dict):
        return {name: _filled(value, values) for name, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, values) for value in template]
    if isinstance(template, str) and template in PLACEHOLDERS:
        return values[template]
    return template


class _Answering:
    """Tells refusals by the route's template."""

    __slots__ = ("_error",)

    def __init__(self, error: ErrorTemplate | None) -> None:
        self._error = error

    def allowed(self, direction: Direction, calls: Calls) -> None:
        """No message depends on an earlier one."""

    def refused(self, calls: Calls, refusals: Refusals) -> Drop | Close:
        """The template, filled for the first call that was refused itself."""
        first = first_of(refusals)
        return self._drop(calls[list(refusals).index(first)], first)

    def withheld(self, calls: Calls, refusals: Refusals) -> Drop:  # noqa: ARG002 - the protocol's
        """Nobody is told: the client did not ask for it, and the upstream need not know."""
        return Drop(first_of(refusals).value)

    def unreadable(self, wrong: UnreadableError) -> Drop | Close:
        """The template where there is one, otherwise the end."""
        if self._error is None:
            return close_unreadable(wrong)
        return self._drop(None, wrong.refusal)

    def _drop(self, call: Call | None, refusal: Refusal) -> Drop:
        if self._error is None:
            return Drop(refusal.value)
        return Drop(refusal.value, text(self._error.fill(call, refusal)))


class PlainReader(_Answering):
    """Reads plain JSON objects out of text messages.

    Args:
        type_at: where the type stands; it is text.
        topic_at: where the topic stands, for messages that have one.
        id_at: where the id stands, for messages that have one: text, a whole number or null.
        error: the error message; None for none.
        depth: how deeply objects and arrays may be nested.
    """

    __slots__ = ("_depth", "_id_at", "_topic_at", "_type_at")

    def __init__(
        self,
        type_at: Pointer,
        topic_at: Pointer | None,
        id_at: Pointer | None,
        error: ErrorTemplate | None,
        depth: int,
    ) -> None:
        super().__init__(error)
        self._type_at = type_at
        self._topic_at = topic_at
        self._id_at = id_at
        self._depth = depth

    def read(
        self,
        direction: Direction,  # noqa: ARG002 - both sides speak the same
        kind: Kind,
        payload: bytes,
    ) -> Calls:
        """One call."""
        if kind is not Kind.TEXT:
            raise UnreadableError("JSON comes in text messages")
        document = read_document(payload, self._depth)
        type_name = self._type_at.find(document)
        if not isinstance(type_name, str):
            raise UnreadableError("the message does not say its type")
        topic: Any = None
        if self._topic_at is not None:
            topic = self._topic_at.find(document)
            if topic is MISSING:
                topic = None
            elif not isinstance(topic, str):
                raise UnreadableError("the topic is no text")
        id_value: Any = MISSING
        if self._id_at is not None:
            id_value = self._id_at.find(document)
            # A list or an object as id would be repeated whole.
            if isinstance(id_value, list | dict | float | Unclear):
                id_value = MISSING
        return (Call(type_name, topic, document, id_value),)


class HookReader(_Answering):
    """Lets a registered function read messages. Whatever it raises refuses the message.

    Args:
        hook: the function.
        error: the error message; None for none.
        most: most calls of one message.
        depth: how deeply what stands in the fields of a call may be nested: a schema with a
            reference to itself follows it on the stack, which ends.
    """

    __slots__ = ("_depth", "_hook", "_most")

    def __init__(self, hook: Hook, error: ErrorTemplate | None, most: int, depth: int) -> None:
        super().__init__(error)
        self._hook = hook
        self._most = most
        self._depth = depth

    def read(self, direction: Direction, kind: Kind, payload: bytes) -> Calls:
        """The calls that the hook finds."""
        try:
            # One more than may be: whether there are is all that counts.
            found: list[object] = list(
                islice(self._hook(direction.value, kind is Kind.TEXT, payload), self._most + 1)
            )
        except (UnreadableError, KeyboardInterrupt):
            raise
        # Also SystemExit, and a CancelledError: nothing awaits here, so none is the loop's.
        except BaseException as error:
            raise UnreadableError("the hook raised", refusal=Refusal.INTERNAL_ERROR) from error
        calls = [call for call in found if isinstance(call, Call) and _is_sound(call)]
        if len(calls) != len(found) or len(found) > self._most:
            raise UnreadableError("not the calls of a hook", refusal=Refusal.INTERNAL_ERROR)
        most = max(_MOST_VALUES, len(payload))
        if outgrows([call.fields for call in calls], 1 + self._depth, most + len(calls)):
            raise UnreadableError(f"fields nested more than {self._depth} deep, or too many values")
        return calls


def _is_sound(call: Call) -> bool:
    """Whether a hook, which nobody has checked, put in what belongs there."""
    type_name: object = call.type
    topic: object = call.topic
    return (
        isinstance(type_name, str)
        and isinstance(topic, str | None)
        and (call.id is MISSING or isinstance(call.id, str | int | None))
    )
