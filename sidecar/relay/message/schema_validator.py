"""The validator of a JSON Schema (jsonschema-rs), and what it says against one that is none."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sidecar.relay.message.schema_checks import SchemaProblem
from sidecar.settings.problem import nearest

if TYPE_CHECKING:
    import jsonschema_rs

ABSENT: Final = "needs the package jsonschema-rs: pip install 'sidecar[schema]'"
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


def validator_of(schema: Mapping[str, Any]) -> "jsonschema_rs.Validator":
    """What asks values whether they are as `schema` says.

    Raises:
        SchemaError: it is no JSON Schema, or the package is not installed.
    """
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
