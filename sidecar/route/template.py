"""Path and resource templates: ``/orders/{order_id}``, ``/files/{path*}``, ``orders/{order_id}``.

Literals are kept percent-decoded, and so are the segments they are compared with. `%24` and `$` are
different octets of a canonical path but one character to whoever decodes it, so a comparison of
encoded forms would let `/admin%3Aexport` miss the rule for `/admin:export` and fall to a broader
one. Decoding is unambiguous: a canonical path holds no encoded slash, percent sign or control
character.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final
from urllib.parse import unquote_to_bytes

_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\*?)\}")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_BAD_TRIPLET: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Never in a canonical path, encoded or not: servers read them differently.
_TWO_READINGS: Final = frozenset("/\\;%")
_LONGEST_RESOURCE_TEMPLATE: Final = 1024


class Kind(IntEnum):
    """What a segment of a template matches, the most specific first."""

    LITERAL = 0
    PARAMETER = 1
    TAIL = 2


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment.

    Attributes:
        kind: what it matches: its text, one segment, or everything that follows.
        text: the decoded literal, or the name of the parameter.
    """

    kind: Kind
    text: str

    @property
    def shape(self) -> tuple[Kind, str]:
        """What decides which requests match: the names of parameters do not."""
        return self.kind, self.text if self.kind is Kind.LITERAL else ""


class TemplateError(ValueError):
    """A template that can match nothing, or more than its author meant."""


def parse_path(template: str) -> tuple[Segment, ...]:
    """Take a path template apart. A trailing slash is a last, empty literal.

    Raises:
        TemplateError: with a message for the author of the rule.
    """
    if not template.startswith("/"):
        raise TemplateError("a path begins with '/'")
    texts = template[1:].split("/")
    if any(not text for text in texts[:-1]):
        raise TemplateError("an empty segment ('//') can never match: such requests are refused")
    segments = tuple(_segment(text) for text in texts)
    if any(segment.kind is Kind.TAIL for segment in segments[:-1]):
        raise TemplateError("a parameter for all that follows ('{name*}') must be the last segment")
    names = parameter_names(segments)
    for name in names:
        if names.count(name) > 1:
            raise TemplateError(f"parameter '{name}' is named twice")
    return segments


def parameter_names(segments: tuple[Segment, ...]) -> tuple[str, ...]:
    """The names of the parameters, in order."""
    return tuple(segment.text for segment in segments if segment.kind is not Kind.LITERAL)


def check_resource(template: str, names: tuple[str, ...]) -> None:
    """Check a resource template, whose placeholders must be among `names`.

    Raises:
        TemplateError: with a message for the author of the rule.
    """
    if not template or len(template) > _LONGEST_RESOURCE_TEMPLATE:
        raise TemplateError("a resource template has 1 to 1024 characters")
    for name in _PLACEHOLDER.findall(template):
        if name not in names:
            known = ", ".join(names) or "none"
            raise TemplateError(f"unknown parameter '{name}' (the path has: {known})")
    literal = _PLACEHOLDER.sub("x", template)
    if "{" in literal or "}" in literal:
        raise TemplateError("a brace without its partner")
    if "*" in literal:
        raise TemplateError("a resource names one thing: wildcards belong into rules")
    if not literal.isprintable():
        raise TemplateError("a control character")
    if not all(literal.split("/")):
        raise TemplateError("an empty segment")


def decode(segment: str) -> str | None:
    """A segment of a canonical path, percent-decoded; None if it has no single reading."""
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Canonical paths hold none of these; a caller that hands in another path must not get by.
    if not _TWO_READINGS.isdisjoint(text) or any(_is_control(character) for character in text):
        return None
    return text


def _segment(text: str) -> Segment:
    parameter = _PARAMETER.fullmatch(text)
    if parameter is not None:
        return Segment(Kind.TAIL if parameter[2] else Kind.PARAMETER, parameter[1])
    if "{" in text or "}" in text:
        raise TemplateError(f"'{text}': a parameter is a whole segment, as '{{name}}'")
    if "?" in text or "#" in text:
        raise TemplateError("a path has no query and no fragment")
    if _BAD_TRIPLET.search(text):
        raise TemplateError(f"'{text}': a percent sign is followed by two hexadecimal digits")
    literal = decode(text)
    if literal is None:
        raise TemplateError(f"'{text}' can never match: such requests are refused")
    if literal in {".", ".."}:
        raise TemplateError("dot segments can never match: such requests are refused")
    return Segment(Kind.LITERAL, literal)


def _is_control(character: str) -> bool:
    return character < " " or character == "\x7f"
