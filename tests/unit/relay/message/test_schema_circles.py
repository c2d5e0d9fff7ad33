"""References that lead back without going into the value are refused; those of trees are not."""

from typing import Any

import pytest

from sidecar.relay.message.call import Call
from sidecar.relay.message.pointer import Pointer
from sidecar.relay.message.schema import MessageSchema
from sidecar.relay.message.schema_checks import wrong_with_schema
from sidecar.relay.message.schema_places import pointer_of

SELF = {"$ref": "#"}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"


@pytest.mark.parametrize(
    ("schema", "places"),
    [
        ({"type": "object", **SELF}, {""}),
        ({"allOf": [{"type": "object"}, SELF]}, {"", "/allOf/1"}),
        ({"anyOf": [SELF, {"type": "object"}]}, {"", "/anyOf/0"}),
        ({"oneOf": [SELF]}, {"", "/oneOf/0"}),
        ({"not": SELF}, {"", "/not"}),
        ({"if": SELF}, {"", "/if"}),
        ({"if": {}, "then": SELF}, {"", "/then"}),
        ({"if": {}, "else": {"not": SELF}}, {"", "/else", "/else/not"}),
        ({"type": "object", "dependentSchemas": {"a/b": SELF}}, {"", "/dependentSchemas/a~1b"}),
        (
            {"$schema": DRAFT_7, "type": "object", "dependencies": {"a": SELF}},
            {"", "/dependencies/a"},
        ),
        (
            {"$ref": "#/$defs/a",
             "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
            {"/$defs/a", "/$defs/b"},
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}},
            {"/properties/a"},
        ),
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"$ref": "#"}}}, {"", "/$defs/a b"}),
        ({"$anchor": "n", "allOf": [{"$ref": "#n"}]}, {"", "/allOf/0"}),
        ({"$dynamicAnchor": "n", "type": "object", "$dynamicRef": "#n"}, {""}),
        (
            {"$schema": DRAFT_2019, "$recursiveAnchor": True, "type": "object",
             "$recursiveRef": "#"},
            {""},
        ),
    ],
)  # fmt: skip
def test_what_asks_nothing_is_told(schema: dict[str, Any], places: set[str]) -> None:
    (problem,) = wrong_with_schema(schema)
    assert pointer_of(problem.place) in places
    assert "asks nothing" in problem.message


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": SELF},
        {"type": "object", "properties": {"a": {"allOf": [SELF]}}},
        {"type": ["array", "object"], "items": SELF, "contains": SELF, "propertyNames": SELF},
        {"type": "object", "unevaluatedProperties": SELF},
        {"$dynamicAnchor": "n", "type": "object",
         "patternProperties": {"^a": {"$dynamicRef": "#n"}}},
        {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}],
         "$defs": {"a": {"type": "object"}}},
        {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "object"}],
         "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}},
    ],
)  # fmt: skip
def test_what_ends_with_the_value_is_sound(schema: dict[str, Any]) -> None:
    assert list(wrong_with_schema(schema)) == []
    assert not MessageSchema(schema, Pointer("")).accepts(Call("x", fields=1))


def test_many_schemas_are_looked_at_in_time() -> None:
    """Each leads to the next, and all of them to one."""
    defs: dict[str, Any] = {
        str(at): {"allOf": [{"$ref": f"#/$defs/{at + 1}"}, {"$ref": "#/$defs/9999"}]}
        for at in range(9_999)
    }
    defs["9999"] = {"type": "object"}
    assert list(wrong_with_schema({"$ref": "#/$defs/0", "$defs": defs})) == []
    defs["9999"] = {"$ref": "#/$defs/0"}
    (problem,) = wrong_with_schema({"$ref": "#/$defs/0", "$defs": defs})
    assert "asks nothing" in problem.message
