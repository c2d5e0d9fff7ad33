"""Patterns of types and topics: ``orders.read``, ``orders.*``, ``/topic/orders/{order_id}``.

Text stands for itself. ``{name}`` captures one segment and ``*`` is one that nobody asks for;
``{name*}`` and ``**``, at the end, are one or more. Segments end at ``/``, and also at ``.`` in a
pattern that has a dot between its parts. What a part stands for must be fit for a resource
(`sidecar.relay.message.value`), so a broker's wildcard never matches one.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.relay.message.value import is_segment

_PART: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\*?)\}|(\*\*?)")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
# Characters of a pattern, and of a type or topic that is matched: a tail looks at each segment.
LONGEST: Final = 1024
_MOST_PARTS: Final = 8
# A segment that stands in nobody's pattern.
_SAMPLE: Final = "zq-9~0"


class PatternError(ValueError):
    """No pattern, or one that could never match."""


class Pattern:
    """A compiled pattern.

    Args:
        text: as written in the rule.

    Attributes:
        text: as written.
        names: of the captured segments, in order.
        is_exact: whether it matches one text only, itself.

    Raises:
        PatternError: in words for the author of the rule.
    """

    __slots__ = ("_expression", "_separators", "_tails", "is_exact", "names", "text")

    def __init__(self, text: str) -> None:
        if not 0 < len(text) <= LONGEST or not text.isprintable():
            raise PatternError(f"must have 1 to {LONGEST} characters, all of them printable")
        if text != text.strip():
            raise PatternError("begins or ends with a space, which nobody sees")
        parts = list(_PART.finditer(text))
        literals = _PART.split(text)[:: _PART.groups + 1]
        if any("{" in each or "}" in each for each in literals):
            raise PatternError("a brace that belongs to no '{name}'")
        if len(parts) > _MOST_PARTS:
            raise PatternError(f"at most {_MOST_PARTS} parts may vary")
        self._separators = "/." if any("." in each for each in literals) else "/"
        self._check(text, parts)
        self.text = text
        self.is_exact = not parts
        self.names = tuple(part[1] for part in parts if part[1])
        self._tails = frozenset(at for at, part in enumerate(parts) if _is_tail(part))
        if len(set(self.names)) != len(self.names):
            raise PatternError("a name stands twice")
        written = re.escape(literals[0])
        for part, literal in zip(parts, literals[1:], strict=True):
            written += "(.+)" if _is_tail(part) else f"([^{re.escape(self._separators)}]+)"
            written += re.escape(literal)
        self._expression = re.compile(written, re.DOTALL)

    def covers(self, other: "Pattern") -> bool:
        """Whether this matches whatever `other` matches, so that nothing is left for that."""
        if self.is_exact or other.is_exact:
            return self.match(other.text) is not None
        # One segment, or where the pattern knows no dots also what looks like two.
        varied = (_SAMPLE,) if "." in other._separators else (_SAMPLE, f"{_SAMPLE}.{_SAMPLE}")  # noqa: SLF001 - of the same class
        tails = (_SAMPLE, f"{_SAMPLE}.{_SAMPLE}", f"{_SAMPLE}/{_SAMPLE}")
        return all(
            self.match(
                _PART.sub(lambda part: tail if _is_tail(part) else segment, other.text)  # noqa: B023 - used at once
            )
            is not None
            for segment in varied
            for tail in tails
        )

    def _check(self, text: str, parts: list[re.Match[str]]) -> None:
        """Each part is a whole segment, and a tail is the last."""
        for part in parts:
            before, after = text[: part.start()], text[part.end() :]
            if (before and before[-1] not in self._separators) or (
                after and after[0] not in self._separators
            ):
                raise PatternError(f"'{part[0]}' must be a whole segment, between '/' or '.'")
            if _is_tail(part) and after:
                raise PatternError(f"'{part[0]}' stands for all that follows: it must be the last")

    def match(self, text: str) -> Mapping[str, str] | None:
        """What the names of the pattern stand for in `text`; None where it does not match."""
        if self.is_exact:
            return _NOTHING if text == self.text else None
        found = self._expression.fullmatch(text)
        if found is None:
            return None
        captured = found.groups()
        for at, part in enumerate(captured):
            segments = re.split(r"[/.]", part) if at in self._tails else (part,)
            if not all(map(is_segment, segments)):
                return None
        if not self.names:
            return _NOTHING
        names = (part[1] for part in _PART.finditer(self.text))
        return {name: part for name, part in zip(names, captured, strict=True) if name}


def _is_tail(part: re.Match[str]) -> bool:
    return bool(part[2]) or part[3] == "**"
