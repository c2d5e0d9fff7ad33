"""Slips in a schema that JSON Schema itself would let pass are told, each at its place."""

from typing import Any

import pytest

from sidecar.relay.message.schema_checks import DEFAULT, wrong_with_schema
from sidecar.relay.message.schema_places import pointer_of

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
OBJECT: dict[str, Any] = {"type": "object"}


def places(schema: dict[str, Any]) -> dict[str, str]:
    return {pointer_of(each.place): each.message for each in wrong_with_schema(schema)}


@pytest.mark.parametrize(
    "schema",
    [
        OBJECT,
        {"$schema": DEFAULT, **OBJECT},
        {"$schema": DRAFT_7, "$ref": "#/definitions/a", "definitions": {"a": OBJECT}},
        {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": OBJECT}},
        {**OBJECT, "x-owner": {"anything": 1}},
        {**OBJECT, "properties": {"propertys": {"type": "string"}}},
        {**OBJECT, "default": {"propertys": 1}, "examples": [{"$ref": "x"}]},
        {"enum": [{"requird": 1}]},
        {"anyOf": [{"required": ["a"]}, {"const": {"$id": 1}}]},
        {**OBJECT, "properties": {"a": True}, "additionalProperties": False},
        # What it says there is the meta-schema's to complain about.
        {**OBJECT, "properties": 7, "allOf": {}, "$ref": 3},
        {**OBJECT, "not": 7, "dependentSchemas": [], "$anchor": 7},
    ],
)
def test_a_sound_schema(schema: dict[str, Any]) -> None:
    assert places(schema) == {}


@pytest.mark.parametrize(
    ("schema", "place", "words"),
    [
        ({**OBJECT, "propertys": {}}, "/propertys", "no keyword"),
        ({**OBJECT, "properties": {"a": {"typ": 1}}}, "/properties/a/typ", "no keyword"),
        ({**OBJECT, "allOf": [{}, {"requird": []}]}, "/allOf/1/requird", "no keyword"),
        ({**OBJECT, "not": {"if": {"els": 1}}}, "/not/if/els", "no keyword"),
        ({**OBJECT, "$defs": {"a": {"b": 1}}}, "/$defs/a/b", "no keyword"),
        ({"$schema": DRAFT_7, "type": "object", "$defs": {}}, "/$defs", "no keyword"),
        ({**OBJECT, "dependencies": {}}, "/dependencies", "no keyword"),
        ({"properties": {"a": OBJECT}}, "", "say `type: object`"),
        ({}, "", "say `type: object`"),
        ({"$schema": "https://example.com/mine", **OBJECT}, "/$schema", "must be one of"),
        ({"$schema": 7, **OBJECT}, "/$schema", "must be one of"),
        ({"$ref": "other.json"}, "/$ref", "this document only"),
        ({"$dynamicRef": "https://example.com/#a"}, "/$dynamicRef", "this document only"),
        ({"$ref": "#/$defs/b", "$defs": {"a": OBJECT}}, "/$ref", "no schema stands there"),
        ({"$ref": "#/x-own", "x-own": {"typ": 1}}, "/$ref", "no schema stands there"),
        ({"$ref": "#/$defs/%zz", "$defs": {"a": OBJECT}}, "/$ref", "no schema stands there"),
        ({**OBJECT, "$defs": {"a": {"$id": "b"}}}, "/$defs/a/$id", "at the root only"),
        ({**OBJECT, "not": {"$schema": DRAFT_7}}, "/not/$schema", "at the root only"),
        (
            {"$schema": DRAFT_7, "type": "object",
             "properties": {"a": {"$ref": "#", "maxProperties": 3}}},
            "/properties/a/maxProperties",
            "`allOf`",
        ),
    ],
)  # fmt: skip
def test_a_slip_is_told(schema: dict[str, Any], place: str, words: str) -> None:
    found = places(schema)
    assert list(found) == [place]
    assert words in found[place]


def test_beside_a_reference_2020_12_ignores_nothing() -> None:
    assert places({"$ref": "#/$defs/a", "maxProperties": 3, "$defs": {"a": OBJECT}}) == {}


def test_a_keyword_that_is_near_is_suggested() -> None:
    (problem,) = wrong_with_schema({**OBJECT, "additionalproperties": False})
    assert problem.suggestion == "additionalProperties"


def test_depth_is_no_matter() -> None:
    schema: dict[str, Any] = {"typ": "object"}
    for _ in range(5_000):
        schema = {"not": schema}
    (problem,) = wrong_with_schema(schema)
    assert len(problem.place) == 5_001
