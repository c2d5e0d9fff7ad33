"""JSON read so that no other reader can have read something else (RFC 8259, RFC 7493).

Refused, because readers differ: names given twice in an object (the first, the last, or an error:
RFC 8259 section 4), lone surrogates (section 8.2), U+0000 (text ends there in C, so to cJSON a name
is what stands before it), numbers beyond what a double holds exactly (section 6), ``-0``, a byte
order mark, any encoding but UTF-8, `NaN` and `Infinity`, and documents nested so deeply that some
reader gives up.
"""

import json
import re
from typing import Any, Final

from sidecar.relay.message.refusal import UnreadableError

# Largest integer that a double holds, as all smaller ones do (RFC 7493 section 2.2).
LARGEST: Final = 2**53 - 1
_MOST_DIGITS: Final = 17
# `float` reads it in linear time, but no reader needs so many.
_LONGEST_NUMBER: Final = 64
# U+0000 stands in no JSON text itself; a backslash before it may be escaped.
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# The escape of a surrogate: a pair is one character, a lone one is none.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")

# An object or array may be inside so many others. Protocols in use stay below ten.
DEPTH: Final = 32


def read_document(payload: bytes, depth: int = DEPTH) -> Any:
    """The value of a JSON text.

    Args:
        payload: the text, in UTF-8.
        depth: how deeply objects and arrays may be nested.

    Raises:
        UnreadableError: it is no JSON, or readers could differ.
    """
    try:
        text = payload.decode("utf-8")
        value = _DECODER.decode(text)
    except UnreadableError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableError("no JSON") from error
    if "\\u0000" in text and _NUL.search(text) is not None:
        raise UnreadableError("U+0000, where text ends to some")
    # Brackets inside of strings count here, too; then the exact depth is looked at.
    if payload.count(b"{") + payload.count(b"[") > depth and _is_deeper(value, depth):
        raise UnreadableError(f"nested more than {depth} deep")
    if _SURROGATE.search(text) is not None:
        _refuse_lone_surrogates(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise UnreadableError("a name stands twice in an object")
    return made


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS or text == "-0":
        raise UnreadableError("a number that readers round differently")
    value = int(text)
    if not -LARGEST <= value <= LARGEST:
        raise UnreadableError("a number that readers round differently")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if len(text) > _LONGEST_NUMBER or value in {float("inf"), float("-inf")}:
        raise UnreadableError("a number beyond what a double holds")
    return value


def _constant(name: str) -> None:
    raise UnreadableError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_constant,
)


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether something lies below more than `depth` objects and arrays. No recursion."""
    level = [value]
    for _ in range(depth):
        following: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                following += each.values()
            elif isinstance(each, list):
                following += each
        level = [each for each in following if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def outgrows(value: Any, depth: int, most: int) -> bool:
    """Whether a value that Python made is too deep, too large, or contains itself. No recursion.

    Args:
        value: anything; what is no dictionary, list or tuple has nothing in it.
        depth: how deeply these may be nested.
        most: values in it, counted as often as they are referred to.
    """
    level = [value]
    for _ in range(depth):
        following: list[Any] = []
        for each in level:
            if isinstance(each, dict | list | tuple):
                most -= len(each)
                if most < 0:
                    return True
                following += each.values() if isinstance(each, dict) else each
        level = [each for each in following if isinstance(each, dict | list | tuple)]
        if not level:
            return False
    return True


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnreadableError("half of a surrogate pair") from error
