"""Values out of messages: which may name a resource, and what a rule compares them with.

Whoever sends the message chose them. They become segments of a resource under the rules of path
parameters (`sidecar.route.template.decode`), and stricter: nothing that separates, nothing that a
rule or a broker takes for a wildcard, nothing that an application trims or folds away.
"""

import re
import unicodedata
from typing import Any, Final

from sidecar.relay.message.document import LARGEST, read_document
from sidecar.relay.message.pointer import MISSING, UNCLEAR
from sidecar.relay.message.refusal import UnreadableError

_LONGEST: Final = 256
# Separators and escapes of paths; wildcards of rules and of brokers; lists of destinations.
_TWO_READINGS: Final = frozenset("/\\;%*>#,?{}")
# Printable to Python, but nobody sees them: Default_Ignorable_Code_Point that NFKC keeps (Unicode
# 16, DerivedCoreProperties.txt), the empty Braille pattern, and fillers that are drawn as nothing.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f"
    "\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
# The usual case.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@:+~-][A-Za-z0-9_.@:+~-]{0,255}", re.ASCII)
_LITERAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})", re.ASCII)
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}

# Texts that readers make numbers and truth values of.
_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]{1,32}\.?[0-9]{0,32}|\.[0-9]{1,32})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII
)
_TRUTHS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
    "": False,
}

_MAY_BE_NUMBER: Final = re.compile(r"[+-]?\.?\d")
# Trimmed by some: white space of any language, controls (Java), zero-width characters.
_TRIMMED: Final = "".join(
    chr(point)
    for first, last in (
        (0, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200F),
        (0x2028, 0x202F), (0x205F, 0x2060), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
    )
    for point in range(first, last + 1)
)  # fmt: skip

# What a rule's `where` may ask for.
Constant = str | int | bool | None


def segment_of(value: Any) -> str | None:
    """`value` as one segment of a resource; None where it cannot be one.

    Text and whole numbers can; ``17`` and ``"17"`` name the same thing.
    """
    if isinstance(value, str):
        return value if is_segment(value) else None
    # A truth value is a number to Python.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def is_segment(text: str) -> bool:
    """Whether `text`, chosen by a client, may be one segment of a resource."""
    if _PLAIN.fullmatch(text) is not None:
        return True
    return (
        0 < len(text) <= _LONGEST
        and text not in {".", ".."}
        and _TWO_READINGS.isdisjoint(text)
        and text.isprintable()
        and _UNSEEN.search(text) is None
        and text == text.strip()
        # Full-width digits and ligatures: many applications fold them (UAX 15).
        and unicodedata.is_normalized("NFKC", text)
    )


def read_constant(text: str) -> Constant:
    """What a rule's `where` asks for.

    ``true``, ``false``, ``null`` and whole numbers are these; text within double quotes is what it
    is in JSON; anything else is text as it stands, unless it looks like what cannot be asked for.

    Raises:
        ValueError: in words for the author of the rule.
    """
    if text in _WORDS:
        word: Constant = _WORDS[text]
        return word
    if _LITERAL.fullmatch(text) and text != "-0" and abs(int(text)) <= LARGEST:
        return int(text)
    if text.lower() in _WORDS or _NUMBER.fullmatch(text):
        raise ValueError(
            f"only true, false, null and whole numbers up to 2^53 - 1; as text: '\"{text}\"'"
        )
    if not text.startswith('"'):
        return text
    try:
        value = read_document(text.encode("utf-8", "surrogatepass"))
    except UnreadableError:
        value = None
    if not isinstance(value, str):
        raise ValueError("text that begins with a quotation mark is a string of JSON")  # noqa: TRY004 - it is what was written that is wrong
    return value


def equals(found: Any, asked: Constant) -> bool:
    """Whether a message says what a rule asks for: of the same kind and the same value.

    Raises:
        UnreadableError: it says something else that receivers may take for the same: ``1.0`` or
            ``"1"`` for 1 (most languages, and readers that convert), ``["a"]`` or ``" a"`` for
            ``"a"``.
    """
    if type(found) is type(asked):
        if found == asked:
            return True
        if isinstance(found, str) and found.strip(_TRIMMED) == asked:
            raise UnreadableError("white space around the text that is asked for")
        return False
    if found is UNCLEAR:
        raise UnreadableError("at the place that a rule asks for stands nothing clear")
    if found is MISSING or found is None or asked is None:
        return False
    if isinstance(found, list | dict) or _convertible(found, asked):
        raise UnreadableError("a value that may be the one asked for, of another kind")
    return False


def _convertible(found: Any, asked: Constant) -> bool:
    """Whether a reader that converts kinds could make `asked` of `found`, both single values."""
    if isinstance(found, bool) or isinstance(asked, bool):
        return _truth(found) is _truth(asked) is not None
    if isinstance(found, str) and _number(found) is None:
        # 0x1, 0o1, "1 kg", other digits, more of them than any number needs.
        return _MAY_BE_NUMBER.match(found.strip(_TRIMMED)) is not None
    return _number(found) == _number(asked) is not None


def _truth(value: Any) -> bool | None:
    if isinstance(value, str):
        return _TRUTHS.get(value.strip(_TRIMMED).casefold())
    return bool(value)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        text = value.strip(_TRIMMED)
        return float(text) if _NUMBER.fullmatch(text) else None
    return float(value)
