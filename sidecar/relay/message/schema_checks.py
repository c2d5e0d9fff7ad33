"""What is wrong with a JSON Schema beyond what its meta-schema says: where it would ask nothing.

JSON Schema lets unknown keywords pass, and most keywords ask nothing of values of other types, so a
slip of the pen is a check that never fails. Here a schema is a wall, so such slips are refused (as
Ajv does in strict mode), and so is whatever leads out of the document: it is all there is.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from sidecar.relay.message.schema_circles import circle_in
from sidecar.relay.message.schema_places import SchemaPlace, decoded, pointer_of
from sidecar.settings.problem import nearest


class SchemaProblem(NamedTuple):
    """One thing wrong with a schema.

    Attributes:
        place: where in it.
        message: for its author; quotes no value of it.
        suggestion: what was probably meant; ``""`` when nothing is near.
    """

    place: SchemaPlace
    message: str
    suggestion: str = ""


_DRAFT_4: Final = frozenset(
    {"$ref", "$schema", "additionalItems", "additionalProperties", "allOf", "anyOf", "default",
     "definitions", "dependencies", "description", "enum", "exclusiveMaximum", "exclusiveMinimum",
     "format", "id", "items", "maxItems", "maxLength", "maxProperties", "maximum", "minItems",
     "minLength", "minProperties", "minimum", "multipleOf", "not", "oneOf", "pattern",
     "patternProperties", "properties", "required", "title", "type", "uniqueItems"}
)  # fmt: skip
_DRAFT_6: Final = (_DRAFT_4 - {"id"}) | {"$id", "const", "contains", "examples", "propertyNames"}
_DRAFT_7: Final = _DRAFT_6 | frozenset(
    {"$comment", "contentEncoding", "contentMediaType", "else", "if", "readOnly", "then",
     "writeOnly"}
)  # fmt: skip
_DRAFT_2019: Final = (_DRAFT_7 - {"dependencies"}) | frozenset(
    {"$anchor", "$defs", "$recursiveAnchor", "$recursiveRef", "contentSchema", "dependentRequired",
     "dependentSchemas", "deprecated", "maxContains", "minContains", "unevaluatedItems",
     "unevaluatedProperties"}
)  # fmt: skip
_DRAFT_2020: Final = (
    _DRAFT_2019 - {"$recursiveAnchor", "$recursiveRef", "additionalItems"}
) | {"$dynamicAnchor", "$dynamicRef", "prefixItems"}  # fmt: skip

DEFAULT: Final = "https://json-schema.org/draft/2020-12/schema"
# `$schema`, without an empty fragment -> the keywords of that draft.
DRAFTS: Final[Mapping[str, frozenset[str]]] = {
    DEFAULT: _DRAFT_2020,
    "https://json-schema.org/draft/2019-09/schema": _DRAFT_2019,
    "http://json-schema.org/draft-07/schema": _DRAFT_7,
    "http://json-schema.org/draft-06/schema": _DRAFT_6,
    "http://json-schema.org/draft-04/schema": _DRAFT_4,
}
# In these, whatever stands beside a reference is ignored (draft-07 core, section 8.3).
_REFERENCE_ALONE: Final = frozenset({_DRAFT_4, _DRAFT_6, _DRAFT_7})
_BESIDE_REFERENCE: Final = frozenset(
    {"$comment", "$id", "$ref", "$schema", "default", "definitions", "description", "examples",
     "id", "title"}
)  # fmt: skip

# Where schemas stand in schemas: as the value, in a list, under names.
_VALUE: Final = frozenset(
    {"additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items",
     "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"}
)  # fmt: skip
_LIST: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_NAMES: Final = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
# A schema with none of these at its root lets pass whatever is no object.
_ABOUT_EVERYTHING: Final = frozenset(
    {"$dynamicRef", "$recursiveRef", "$ref", "allOf", "anyOf", "const", "enum", "if", "not",
     "oneOf", "type"}
)  # fmt: skip


def wrong_with_schema(schema: Mapping[str, Any]) -> Iterator[SchemaProblem]:
    """What is wrong with a schema; nothing is known then of what its meta-schema says.

    Args:
        schema: the root.
    """
    keywords = keywords_of(schema)
    if keywords is None:
        known = ", ".join(DRAFTS)
        yield SchemaProblem(("$schema",), f"must be one of {known}")
        return
    if not schema.keys() & _ABOUT_EVERYTHING:
        yield SchemaProblem((), "say `type: object`, or which: without it other values pass")
    schemas: dict[str, tuple[SchemaPlace, Mapping[str, Any]]] = {}
    references: list[tuple[SchemaPlace, str]] = []
    # A stack, not recursion: nobody has bounded how deep a file is.
    left: list[tuple[SchemaPlace, Mapping[str, Any]]] = [((), schema)]
    while left:
        place, each = left.pop()
        schemas[pointer_of(place)] = place, each
        yield from _wrong_with_one(each, keywords, place)
        references += [
            ((*place, keyword), each[keyword])
            for keyword in _REFERENCES & each.keys()
            if isinstance(each[keyword], str)
        ]
        left += _below(each, place)
    for place, target in references:
        if target.startswith("#/") and decoded(target[1:]) not in schemas:
            yield SchemaProblem(place, "no schema stands there in this document")
    circle = circle_in({at: each for at, (_, each) in schemas.items()})
    if circle is not None:
        message = "asks nothing: its references lead back to it, not into the value"
        yield SchemaProblem(schemas[circle][0], message)


def keywords_of(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """The keywords of the schema's draft; None where it names another one."""
    draft = schema.get("$schema", DEFAULT)
    return DRAFTS.get(draft.removesuffix("#")) if isinstance(draft, str) else None


def _wrong_with_one(
    schema: Mapping[str, Any], keywords: frozenset[str], place: SchemaPlace
) -> Iterator[SchemaProblem]:
    for keyword in schema:
        if keyword not in keywords and not keyword.startswith("x-"):
            message = "no keyword of this draft of JSON Schema (names of your own begin with `x-`)"
            yield SchemaProblem((*place, keyword), message, nearest(keyword, sorted(keywords)))
    for keyword in _REFERENCES & schema.keys():
        target = schema[keyword]
        if isinstance(target, str) and not target.startswith("#"):
            message = "must begin with `#`: references lead to this document only"
            yield SchemaProblem((*place, keyword), message)
    if place:
        for keyword in {"$schema", "$id", "id"} & schema.keys() & keywords:
            message = "stands at the root only: the schema is one document"
            yield SchemaProblem((*place, keyword), message)
    if "$ref" in schema and keywords in _REFERENCE_ALONE:
        for keyword in schema.keys() & keywords - _BESIDE_REFERENCE:
            message = "this draft ignores what stands beside `$ref`: put both into `allOf`"
            yield SchemaProblem((*place, keyword), message)


def _below(
    schema: Mapping[str, Any], place: SchemaPlace
) -> Iterator[tuple[SchemaPlace, Mapping[str, Any]]]:
    """The schemas in a schema; what is none there the meta-schema complains about."""
    for keyword, value in schema.items():
        here = (*place, keyword)
        if keyword in _VALUE and isinstance(value, dict):
            yield here, value
        elif keyword in _LIST and isinstance(value, list):
            for at, each in enumerate(value):
                if isinstance(each, dict):
                    yield (*here, at), each
        elif keyword in _NAMES and isinstance(value, dict):
            for name, each in value.items():
                if isinstance(each, dict):
                    yield (*here, name), each
