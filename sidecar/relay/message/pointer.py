"""JSON pointers (RFC 6901) into what a message says.

Stricter than the RFC in one thing: a name that is a whole number leads into arrays only, any other
into objects only. By the RFC ``/params/1`` is also the member ``"1"`` of an object, but receivers
differ: some turn an object into a list by the order of its members, for some both are the same.
So an array where an object is asked for, or the reverse, holds nothing clear (`UNCLEAR`), which is
not the same as nothing (`MISSING`): a rule that asks for something there does not merely not fit.
Single values hold nothing, but text nothing clear that may be JSON again or, by a position, a list
of characters.
"""

import re
from typing import Any, Final
from unicodedata import normalize

from sidecar.relay.message.refusal import UnreadableError

_ESCAPE: Final = re.compile(r"~(?![01])")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_MOST_TOKENS: Final = 16
_PROTOTYPE: Final = "__proto__"
_OPENS: Final = frozenset("{[")


class PointerError(ValueError):
    """No JSON pointer."""


class Missing:
    """There is nothing at the place (`MISSING`); null is something."""

    def __repr__(self) -> str:
        """For messages of tests."""
        return "MISSING"


MISSING: Final = Missing()


class Unclear:
    """Something is at the place, or on the way to it, that receivers read differently."""

    def __repr__(self) -> str:
        """For messages of tests."""
        return "UNCLEAR"


UNCLEAR: Final = Unclear()


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
        self._tokens = tuple((each, fold(each), _index(each)) for each in tokens)

    def find(self, document: Any) -> Any:
        """What is at the place; `MISSING` for nothing, `UNCLEAR` for what has several readings.

        Raises:
            UnreadableError: an object on the way has another name that differs in case only, which
                some readers take for it (`fold`), or the name ``__proto__``: copied in JavaScript
                (`Object.assign`), that object has the members which stand there.
        """
        for token, folded, index in self._tokens:
            if isinstance(document, dict):
                if index is not None:
                    return UNCLEAR
                if _PROTOTYPE in document:
                    raise UnreadableError("a name that says where others may be found")
                below = document.get(token, MISSING)
                for name in document:
                    # Nearly all names are ASCII; a call for each would cost.
                    if name != token and (name.lower() if name.isascii() else fold(name)) == folded:
                        raise UnreadableError("two names differ in case only")
                document = below
            elif isinstance(document, list):
                if index is None:
                    return UNCLEAR
                if index >= len(document):
                    return MISSING
                document = document[index]
            else:
                return UNCLEAR if _holds_more(document, index) else MISSING
        return document


def fold(name: str) -> str:
    """What names have in common that some readers do not tell apart.

    Go's encoding/json folds simply (U+212A is k), Java's equalsIgnoreCase looks at the upper and
    then at the lower case of each character (U+0131 and U+0130 are i), Swift compares text by
    canonical equivalence.
    """
    if name.isascii():
        return name.lower()
    # U+0130 folds to an i and a dot above it (CaseFolding.txt, status F).
    return normalize("NFKC", name).upper().casefold().replace("i\u0307", "i")


def _holds_more(value: Any, index: int | None) -> bool:
    """Whether somebody may look for parts in `value`, which is no object and no array."""
    if isinstance(value, str):
        # By a position most languages find a character.
        return value.lstrip()[:1] in _OPENS if index is None else index < len(value)
    return value is UNCLEAR


def _index(token: str) -> int | None:
    """The position in an array that `token` stands for; None for a name."""
    return int(token) if _INDEX.fullmatch(token) else None
