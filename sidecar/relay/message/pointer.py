"""JSON pointers (RFC 6901) into what a message says."""

import re
from typing import Any, Final

from sidecar.relay.message.refusal import UnreadableError

_ESCAPE: Final = re.compile(r"~(?![01])")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_MOST_TOKENS: Final = 16


class PointerError(ValueError):
    """No JSON pointer."""


class Missing:
    """There is nothing at the place (`MISSING`); null is something."""

    def __repr__(self) -> str:
        """For messages of tests."""
        return "MISSING"


MISSING: Final = Missing()


class Pointer:
    """A parsed pointer.

    Args:
        text: such as ``/params/order_id``; ``""`` is the whole document.

    Attributes:
        text: as given.
        first: the first name in it; ``""`` for the whole document.

    Raises:
        PointerError: in words for the author of the rule.
    """

    __slots__ = ("_tokens", "first", "text")

    def __init__(self, text: str) -> None:
        if text and not text.startswith("/"):
            raise PointerError("a JSON pointer begins with '/' (RFC 6901)")
        if _ESCAPE.search(text):
            raise PointerError("in a JSON pointer '~' is written '~0' and '/' is '~1' (RFC 6901)")
        tokens = [each.replace("~1", "/").replace("~0", "~") for each in text.split("/")[1:]]
        if len(tokens) > _MOST_TOKENS:
            raise PointerError(f"a JSON pointer has at most {_MOST_TOKENS} names here")
        self.text = text
        self.first = tokens[0] if tokens else ""
        self._tokens = tuple((each, each.casefold()) for each in tokens)

    def find(self, document: Any) -> Any:
        """What is at the place, or `MISSING`.

        Raises:
            UnreadableError: an object on the way has another name that differs in case only. Some
                readers (Go's encoding/json) take either for the other.
        """
        for token, folded in self._tokens:
            if isinstance(document, dict):
                below = document.get(token, MISSING)
                for name in document:
                    if name != token and name.casefold() == folded:
                        raise UnreadableError("two names differ in case only")
                document = below
            elif isinstance(document, list):
                if _INDEX.fullmatch(token) is None or int(token) >= len(document):
                    return MISSING
                document = document[int(token)]
            else:
                return MISSING
        return document
