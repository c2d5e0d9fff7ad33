"""The JSON Schema of a message rule: compiled once, asked of the value that was decided about.

jsonschema-rs validates the very objects that `document.read_document` made, so nothing is parsed
twice and no second reader could see another message. Patterns run on an engine without
backtracking, in time linear to the text; formats are asserted; nothing is ever fetched.
"""

import importlib
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sidecar.relay.message.call import Call
from sidecar.relay.message.pointer import MISSING, UNCLEAR, Pointer
from sidecar.relay.message.schema_checks import SchemaProblem, wrong_with_schema
from sidecar.relay.message.schema_places import pointer_of
from sidecar.settings.problem import nearest

if TYPE_CHECKING:
    import jsonschema_rs

ABSENT: Final = "needs the package jsonschema-rs: pip install 'sidecar[schema]'"
# What an explanation tells of one message.
_MOST_FAULTS: Final = 5
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_FORMATS: Final = (
    "date", "date-time", "duration", "email", "hostname", "idn-email", "idn-hostname", "ipv4",
    "ipv6", "iri", "iri-reference", "json-pointer", "regex", "relative-json-pointer", "time", "uri",
    "uri-reference", "uri-template", "uuid",
)  # fmt: skip


class SchemaError(ValueError):
    """A schema that cannot be used.

    Attributes:
        problems: everything that is wrong, as far as it is known.
    """

    def __init__(self, problems: tuple[SchemaProblem, ...]) -> None:
        super().__init__("; ".join(each.message for each in problems))
        self.problems = problems


class MessageSchema:
    """What a part of a message must look like.

    Args:
        schema: JSON Schema; draft 2020-12 unless its `$schema` says another.
        at: the part, from where the protocol's pointers begin.
        default: what counts where the message leaves that part out, or gives null for an object
            that may be left out; `MISSING` where it may not.

    Raises:
        SchemaError: it is none, would ask nothing, leads out of the document, or the package that
            validates is not installed.
    """

    __slots__ = ("_at", "_default", "_validator")

    def __init__(self, schema: Mapping[str, Any], at: Pointer, default: Any = MISSING) -> None:
        if problems := tuple(wrong_with_schema(schema)):
            raise SchemaError(problems)
        self._validator = _compiled(schema)
        self._at = at
        self._default = default

    def accepts(self, call: Call) -> bool:
        """Whether `call` is as the schema says; what is no JSON (of a hook) is not.

        Raises:
            UnreadableError: the part can be read in two ways.
        """
        value = self._value(call)
        if value is MISSING or value is UNCLEAR:
            return False
        try:
            return self._validator.is_valid(value)
        except ValueError:
            return False

    def faults(self, call: Call) -> tuple[str, ...]:
        """Where `call` is not as the schema says, and by which keyword; never what stands there.

        Each is a JSON pointer, from where the protocol's pointers begin, and a keyword:
        ``/params/lines/3: minimum``.

        Raises:
            UnreadableError: the part can be read in two ways.
        """
        value = self._value(call)
        if value is MISSING or value is UNCLEAR:
            return (f"{self._at.text}: {'missing' if value is MISSING else 'unclear'}",)
        try:
            found = dict.fromkeys(
                f"{self._at.text}{pointer_of(tuple(each.instance_path))}: {each.kind.name}"
                for each in self._validator.iter_errors(value)
            )
        except ValueError:
            return (f"{self._at.text}: no JSON",)
        return tuple(islice(found, _MOST_FAULTS))

    def _value(self, call: Call) -> Any:
        value = MISSING if call.fields is MISSING else self._at.find(call.fields)
        if value is MISSING or (value is None and self._default is not MISSING):
            return self._default
        return value


def _compiled(schema: Mapping[str, Any]) -> "jsonschema_rs.Validator":
    # Imported where a rule has a schema only: 3 MB.
    try:
        library = importlib.import_module("jsonschema_rs")
    except ImportError:
        raise SchemaError((SchemaProblem((), ABSENT),)) from None
    try:
        validator: jsonschema_rs.Validator = library.validator_for(
            dict(schema),
            # Who writes `format: uuid` into a rule means it, whatever the draft's default.
            validate_formats=True,
            ignore_unknown_formats=False,
            # The engine that never backtracks: no look-around, no back-references.
            pattern_options=library.RegexOptions(),
            offline=True,
        )
    except library.ValidationError as error:
        raise SchemaError((_problem(error),)) from None
    except ValueError as error:
        raise SchemaError((SchemaProblem((), f"no JSON Schema: {error}"),)) from error
    return validator


def _problem(error: "jsonschema_rs.ValidationError") -> SchemaProblem:
    """What the library says against a schema, in words that quote no value of it."""
    place, keyword = tuple(error.instance_path), error.kind.name
    last = next((each for each in reversed(place) if isinstance(each, str)), "")
    kinds, given = getattr(error.kind, "types", ()), str(error.instance)
    if kinds:
        return SchemaProblem(place, f"must be of type {' or '.join(kinds)}")
    if keyword == "$ref":
        return SchemaProblem(place, "a reference leads to nothing in this document")
    if keyword == "format":
        return SchemaProblem(
            place, "no regular expression of those that take linear time (no look-around, `\\1`)"
        )
    if last == "format":
        return SchemaProblem(place, "no format that is known", nearest(given, _FORMATS))
    if last == "type":
        message = f"must be one of {', '.join(_TYPES)}, or a list of them"
        return SchemaProblem(place, message, nearest(given, _TYPES))
    return SchemaProblem(place, f"is not what JSON Schema asks there (`{keyword}`)")
