"""A tree of nodes -> settings, as the schema says; every mismatch becomes a problem in words.

We walk the schema ourselves because msgspec stops at the first error and knows no lines. Where
something is wrong a harmless stand-in takes its place, so that the checks which follow can go on
and a person sees all mistakes at once.
"""

import re
from typing import Any, Final

from msgspec import NODEFAULT, inspect

from sidecar.settings.document import Mapping, Node, Scalar, Sequence, yaml_reading
from sidecar.settings.free_form import DocumentReader
from sidecar.settings.interpolate import Sources, UnresolvedError, expand, has_reference
from sidecar.settings.positions import Positions
from sidecar.settings.problem import Findings, Path, Place, nearest

_WHOLE_NUMBER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER: Final = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?", re.ASCII)


class Reader:
    """Reads nodes as types of the schema.

    Args:
        findings: where problems go.
        positions: where places go.
        sources: what references are resolved from.
    """

    def __init__(self, findings: Findings, positions: Positions, sources: Sources) -> None:
        self._findings = findings
        self._positions = positions
        self._sources = sources
        self._documents = DocumentReader(findings, positions, self._expanded, sources.base)

    def read(self, node: Node, expected: inspect.Type, path: Path) -> Any:
        """The value of `node`, of the `expected` type; a stand-in where it is wrong."""
        if isinstance(expected, inspect.UnionType):
            (inner,) = (kind for kind in expected.types if not isinstance(kind, inspect.NoneType))
            return None if _is_null(node) else self.read(node, inner, path)
        if isinstance(expected, inspect.StructType):
            return self._section(node, expected, path)
        if is_document(expected):
            return self._documents.read(node, path)
        if isinstance(expected, inspect.DictType):
            return self._dictionary(node, expected, path)
        if isinstance(expected, inspect.VarTupleType):
            return self._list(node, expected, path)
        return self._scalar(node, expected, path)

    # Collections.

    def _section(self, node: Node, expected: inspect.StructType, path: Path) -> Any:
        if not isinstance(node, Mapping):
            keys = ", ".join(field.name for field in expected.fields[:3])
            self._wrong(node, path, f"must be a section with keys such as {keys}")
            return stand_in(expected)
        fields = {field.name: field for field in expected.fields}
        values: dict[str, Any] = {}
        for key, child in node.entries:
            below = (*path, key.text)
            if key.text not in fields:
                self._unknown_key(key, path, expected)
                continue
            self._place(below, child, key.place)
            values[key.text] = self.read(child, fields[key.text].type, below)
        for name, field in fields.items():
            if name not in values and field.required:
                self._findings.add(self._positions.locate(path), (*path, name), "is required")
                values[name] = stand_in(field.type)
        return expected.cls(**values)

    def _unknown_key(self, key: Scalar, path: Path, expected: inspect.StructType) -> None:
        names = [field.name for field in expected.fields]
        # `{token_key:secret}` is one key to YAML, and so is what follows a slipped comma or line
        # break. In a section with secrets only what resembles a setting's name is shown.
        name, colon, _ = key.text.partition(":")
        suggestion = nearest(name, names)
        below = (*path, name) if suggestion or not getattr(expected.cls, "secrets", None) else path
        if colon:
            self._findings.remark(key.place, below, "a space is missing after the `:`")
            return
        message = "unknown key" if suggestion else f"unknown key; known here: {', '.join(names)}"
        self._findings.remark(key.place, below, message, suggestion)

    def _dictionary(self, node: Node, expected: inspect.DictType, path: Path) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            self._wrong(node, path, "must be a section of names, each with its own keys")
            return {}
        if len(node.entries) < (expected.min_length or 0):
            self._wrong(node, path, "must not be empty")
        values = {}
        for key, child in node.entries:
            below = (*path, key.text)
            self._place(below, child, key.place)
            values[key.text] = self.read(child, expected.value_type, below)
        return values

    def _list(self, node: Node, expected: inspect.VarTupleType, path: Path) -> tuple[Any, ...]:
        if not isinstance(node, Sequence):
            hint = ": put [ ] around it" if isinstance(node, Scalar) and node.text else ""
            self._wrong(node, path, f"must be a list{hint}")
            return ()
        if len(node.items) < (expected.min_length or 0):
            self._wrong(node, path, "must not be empty")
        values = []
        for index, item in enumerate(node.items):
            below = (*path, index)
            self._place(below, item, item.place)
            values.append(self.read(item, expected.item_type, below))
        return tuple(values)

    def _place(self, path: Path, node: Node, key: Place) -> None:
        """A value is located at itself, a section or list at its key."""
        self._positions.note(path, node.place if isinstance(node, Scalar) else key)

    # Single values.

    def _scalar(self, node: Node, expected: inspect.Type, path: Path) -> Any:
        if not isinstance(node, Scalar):
            given = "a list" if isinstance(node, Sequence) else "a section"
            self._wrong(node, path, f"{requirement(expected)}, not {given}")
            return stand_in(expected)
        # What came from elsewhere has no quotes of its own: it may stand for a number.
        is_reference = has_reference(node.text)
        bare = node.plain or is_reference
        text = self._expanded(node, path)
        if text is None:
            return stand_in(expected)
        if not is_reference and is_text(expected) and (reading := yaml_reading(node)):
            self._wrong(node, path, f"{requirement(expected)}: {_as_text(node, reading)}")
            return stand_in(expected)
        value = convert(text, expected, bare=bare)
        if value is None:
            message, suggestion = complaint(text, expected, bare=bare)
            self._wrong(node, path, message, suggestion)
            return stand_in(expected)
        return value

    def _expanded(self, node: Scalar, path: Path) -> str | None:
        """The text of `node`, references expanded; None where one cannot be, which is told."""
        if not has_reference(node.text):
            return node.text
        try:
            text = expand(node.text, self._sources)
        except UnresolvedError as error:
            self._findings.add(node.place, path, error.message, error.suggestion)
            return None
        self._positions.note_written(path, node.text, text)
        return text

    def _wrong(self, node: Node, path: Path, message: str, suggestion: str = "") -> None:
        place = node.place if isinstance(node, Scalar) else self._positions.locate(path)
        self._findings.add(place, path, message, suggestion)


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and yaml_reading(node) == "nothing"


def _as_text(node: Scalar, reading: str) -> str:
    """How to write what YAML would not read as text. Only words are quoted: they are no secrets."""
    if reading == "nothing":
        return "nothing is given"
    if reading == "true or false":
        return f'YAML reads {node.text} as {reading}; write "{node.text}" with the quotes'
    return f"YAML reads this as {reading}; put it in quotes"


def is_document(expected: inspect.Type) -> bool:
    """Whether `expected` is a JSON object whose names and values are not ours to know."""
    return isinstance(expected, inspect.DictType) and isinstance(
        expected.value_type, inspect.AnyType
    )


def is_text(expected: inspect.Type) -> bool:
    """Whether `expected` is text or a choice of words."""
    if isinstance(expected, inspect.LiteralType):
        return all(isinstance(value, str) for value in expected.values)
    return isinstance(expected, inspect.StrType)


def convert(text: str, expected: inspect.Type, *, bare: bool) -> Any:
    """`text` as a value of the single-valued type `expected`; None when it is not one."""
    if isinstance(expected, inspect.StrType):
        return text if len(text) >= (expected.min_length or 0) else None
    if isinstance(expected, inspect.LiteralType) and is_text(expected):
        return text if text in expected.values else None
    if not bare:
        return None
    if isinstance(expected, inspect.BoolType):
        return {"true": True, "false": False}.get(text)
    if isinstance(expected, inspect.FloatType):
        return _in_range(float(text), expected) if _NUMBER.fullmatch(text) else None
    number = int(text) if _WHOLE_NUMBER.fullmatch(text) else None
    if isinstance(expected, inspect.LiteralType):
        return number if number in expected.values else None
    assert isinstance(expected, inspect.IntType)  # noqa: S101 - the schema has no other types
    return None if number is None else _in_range(number, expected)


def _in_range(number: float, expected: inspect.IntType | inspect.FloatType) -> float | None:
    allowed = (
        (expected.ge is None or number >= expected.ge)
        and (expected.gt is None or number > expected.gt)
        and (expected.le is None or number <= expected.le)
        and abs(number) != float("inf")
    )
    return number if allowed else None


def complaint(text: str, expected: inspect.Type, *, bare: bool) -> tuple[str, str]:
    """Why `text` is not of the `expected` type, and what was probably meant. Never quotes it."""
    message = requirement(expected)
    if is_text(expected):
        choices = expected.values if isinstance(expected, inspect.LiteralType) else ()
        return message, nearest(text, [str(choice) for choice in choices])
    if not bare:
        return f"{message}, without quotes", ""
    if isinstance(expected, inspect.BoolType):
        words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
        meant = words.get(text.lower(), text.lower())
        return message, meant if meant in {"true", "false"} else ""
    if re.fullmatch(r"[-+]?0[0-7_]+", text):
        return f"{message}: YAML reads a leading 0 as octal, so leave it out", ""
    if re.fullmatch(r"0[xob][0-9a-fA-F_]+", text):
        return f"{message}, in decimal", ""
    if re.fullmatch(r"[-+]?[0-9][0-9_,]*[_,][0-9_,]*", text):
        return f"{message}, digits only", ""
    return message, ""


def requirement(expected: inspect.Type) -> str:
    """What the type asks, in words: ``must be a whole number of at least 1``."""
    if isinstance(expected, inspect.BoolType):
        return "must be true or false"
    if isinstance(expected, inspect.LiteralType):
        choices = ", ".join(str(value) for value in expected.values)
        return f"must be one of {choices}" if len(expected.values) > 1 else f"must be {choices}"
    if isinstance(expected, inspect.StrType):
        length = expected.min_length
        return f"must be text of at least {length} characters" if length else "must be text"
    assert isinstance(expected, inspect.IntType | inspect.FloatType)  # noqa: S101 - no other types
    kind = "a whole number" if isinstance(expected, inspect.IntType) else "a number"
    if expected.ge is not None and expected.le is not None:
        return f"must be {kind} from {expected.ge} to {expected.le}"
    if expected.ge is not None:
        return f"must be {kind} of at least {expected.ge}"
    if expected.gt is not None:
        return f"must be {kind} greater than {expected.gt}"
    return f"must be {kind}"


def stand_in(expected: inspect.Type) -> Any:
    """A value of the right type for a setting that is wrong or missing; never served with."""
    if isinstance(expected, inspect.StructType):
        required = [field for field in expected.fields if field.default is NODEFAULT]
        values = {field.name: stand_in(field.type) for field in required if field.required}
        return expected.cls(**values)
    if isinstance(expected, inspect.UnionType):
        return None
    if isinstance(expected, inspect.LiteralType):
        return expected.values[0]
    if isinstance(expected, inspect.BoolType):
        return False
    if isinstance(expected, inspect.IntType | inspect.FloatType):
        return 1
    if isinstance(expected, inspect.DictType):
        return {}
    return () if isinstance(expected, inspect.VarTupleType) else ""
