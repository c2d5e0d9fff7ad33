"""Circles of references in a JSON Schema that lead back without going into the value.

`{"$ref": "#"}` asks the value what it asks of the value: never anything, or without an end. The
specification tells authors not to write that (2020-12 core, section 9.4.1), validators let it pass.
A reference back from a property, an item or a name is what trees are described with: it ends with
the value.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sidecar.relay.message.schema_places import decoded, pointer_of

# Of the schemas in a schema those that are asked about the same value, by how they stand there.
_VALUE: Final = ("else", "if", "not", "then")
_LIST: Final = ("allOf", "anyOf", "oneOf")
_NAMES: Final = ("dependencies", "dependentSchemas")
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS: Final = ("$anchor", "$dynamicAnchor")


def circle_in(schemas: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Where a schema comes back to itself; None where none does.

    Args:
        schemas: all of the document, by their JSON pointers.
    """
    anchors = {
        each[keyword]: at
        for at, each in schemas.items()
        for keyword in _ANCHORS
        if isinstance(each.get(keyword), str)
    }
    leads = {at: _beside(at, each, anchors, schemas) for at, each in schemas.items()}
    waiting = {at: len(targets) for at, targets in leads.items()}
    led_by: dict[str, list[str]] = {at: [] for at in schemas}
    for at, targets in leads.items():
        for target in targets:
            led_by[target].append(at)
    # What leads nowhere is in no circle, nor is then what leads there only.
    done = [at for at, left in waiting.items() if not left]
    for at in done:
        for each in led_by[at]:
            waiting[each] -= 1
            if not waiting[each]:
                done.append(each)
    left = waiting.keys() - set(done)
    # What is left is in a circle or leads to one: whoever goes on comes by a second time.
    if not left:
        return None
    at, seen = min(left), set[str]()
    while at not in seen:
        seen.add(at)
        at = min(leads[at] & left)
    return at


def _beside(
    at: str,
    schema: Mapping[str, Any],
    anchors: Mapping[str, str],
    schemas: Mapping[str, Mapping[str, Any]],
) -> set[str]:
    """The schemas that the one at this place asks about the same value."""
    found = {
        _target(schema[keyword][1:], anchors)
        for keyword in _REFERENCES
        if isinstance(schema.get(keyword), str)
    }
    found.update(_inside(at, schema))
    return found & schemas.keys()


def _inside(at: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{at}/{keyword}" for keyword in _VALUE)
    for keyword in _LIST:
        if isinstance(schema.get(keyword), list):
            yield from (f"{at}/{keyword}/{index}" for index in range(len(schema[keyword])))
    for keyword in _NAMES:
        if isinstance(schema.get(keyword), dict):
            yield from (at + pointer_of((keyword, name)) for name in schema[keyword])


def _target(fragment: str, anchors: Mapping[str, str]) -> str:
    # An anchor is no pointer: it begins with no slash.
    fragment = decoded(fragment)
    return anchors.get(fragment, fragment)
