"""The schema of a rule: what it accepts, where it says no, and what it never does."""

import importlib
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.relay.message import schema_validator as module
from sidecar.relay.message.call import Call
from sidecar.relay.message.pointer import MISSING, Pointer
from sidecar.relay.message.refusal import UnreadableError
from sidecar.relay.message.schema import MessageSchema
from sidecar.relay.message.schema_checks import DRAFTS
from sidecar.relay.message.schema_validator import ABSENT, SchemaError

WHOLE = Pointer("")
# As long as messages may be by default.
LONG = 65_536


def accepts(schema: dict[str, Any], value: Any) -> bool:
    return MessageSchema(schema, WHOLE).accepts(Call("x", fields=value))


def faults(schema: dict[str, Any], value: Any, at: str = "") -> tuple[str, ...]:
    return MessageSchema(schema, Pointer(at)).faults(Call("x", fields=value))


def told(schema: dict[str, Any]) -> list[tuple[str, str, str]]:
    with pytest.raises(SchemaError) as caught:
        MessageSchema(schema, WHOLE)
    return [
        ("/".join(map(str, each.place)), each.message, each.suggestion)
        for each in caught.value.problems
    ]


def test_the_part_is_looked_at_and_nothing_else() -> None:
    schema = MessageSchema({"type": "integer"}, Pointer("/params/a"))
    assert schema.accepts(Call("x", fields={"params": {"a": 1}, "a": "no"}))
    assert not schema.accepts(Call("x", fields={"params": {"a": "no"}, "a": 1}))


def test_what_is_left_out_is_refused_or_the_default() -> None:
    call = Call("x", fields={"params": None})
    assert not MessageSchema({"type": "object"}, Pointer("/other")).accepts(call)
    assert not MessageSchema({"type": "object"}, Pointer("/params")).accepts(call)
    assert MessageSchema({"type": "object"}, Pointer("/other"), {}).accepts(call)
    assert MessageSchema({"type": "object"}, Pointer("/params"), {}).accepts(call)
    assert not MessageSchema({"type": "object"}, WHOLE).accepts(Call("x"))
    assert MessageSchema({"type": "object"}, Pointer("/a")).faults(call) == ("/a: missing",)


def test_a_part_with_two_readings_is_unreadable() -> None:
    schema = MessageSchema({"type": "object"}, Pointer("/params"))
    with pytest.raises(UnreadableError):
        schema.accepts(Call("x", fields={"params": {}, "Params": {}}))


def test_what_is_no_json_is_refused() -> None:
    assert not accepts({"type": "object"}, {"a": 1} | {1: 2})
    assert faults({"type": "object"}, b"x", at="") == (": no JSON",)


@pytest.mark.parametrize("draft", DRAFTS)
def test_each_draft_is_honoured(draft: str) -> None:
    # Draft 4 knows no number that is whole in another spelling (1.0), and a boolean limit.
    is_old = "draft-04" in draft
    assert accepts({"$schema": draft, "type": "integer"}, 1.0) is not is_old
    assert accepts({"$schema": f"{draft}#", "type": "integer"}, 1)


def test_without_a_draft_it_is_2020_12() -> None:
    schema = {"type": "array", "prefixItems": [{"type": "string"}], "items": False}
    assert accepts(schema, ["a"])
    assert not accepts(schema, ["a", "b"])


def test_formats_are_asserted_in_every_draft() -> None:
    for draft in DRAFTS:
        schema = {"$schema": draft, "type": "string", "format": "ipv4"}
        assert accepts(schema, "192.0.2.1")
        assert not accepts(schema, "192.0.2.256")


def test_numbers_and_truth_are_told_apart() -> None:
    assert not accepts({"type": "integer"}, value=True)
    assert not accepts({"type": "boolean"}, value=1)
    assert not accepts({"const": 1}, value=True)


def test_characters_are_counted_not_octets() -> None:
    assert accepts({"type": "string", "maxLength": 1}, "𝄞")


def test_digits_are_those_of_ecmascript() -> None:
    assert not accepts({"type": "string", "pattern": r"^\d$"}, "٣")
    assert not accepts({"type": "string", "pattern": "^a$"}, "a\n")


def test_faults_have_a_place_and_a_keyword_and_no_value() -> None:
    schema = {
        "type": "object",
        "properties": {"a/b": {"items": {"type": "integer"}}, "~": {"const": "known"}},
    }
    found = faults(schema, {"part": {"a/b": [1, "secret"], "~": "secret"}}, at="/part")
    assert set(found) == {"/part/a~1b/1: type", "/part/~0: const"}
    assert "secret" not in "".join(found)


def test_what_is_as_it_should_be_has_no_faults() -> None:
    assert faults({"type": "object"}, {"a": 1}) == ()


def test_what_cannot_be_told_in_time_is_not_told() -> None:
    """Each level doubles what there is to tell: two to the power of thirty-one."""
    deeper = {"properties": {"a": {"$ref": "#"}}}
    schema = {"type": "object", "oneOf": [deeper | {"required": ["x"]}, deeper]}
    value: Any = {"a": 1}
    for _ in range(30):
        value = {"a": value}
    assert faults(schema, {"part": value}, "/part") == (
        "/part: where in it would take too long to tell",
    )


def test_faults_are_few() -> None:
    assert len(faults({"type": "array", "items": {"type": "integer"}}, ["x"] * 100)) == 5


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a|a)*$", "^(a*)*b$"])
def test_no_pattern_backtracks(pattern: str) -> None:
    # An engine that does would be at it until the sun is cold: tests end after two minutes.
    assert not accepts({"type": "string", "pattern": pattern}, "a" * LONG + "!")
    names = {"type": "object", "patternProperties": {pattern: False}}
    assert accepts(names, {"a" * LONG + "!": 1})


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)a", "(?!a)b", "(?<=a)b", "(?>a)", "("])
@pytest.mark.parametrize("where", ["pattern", "names"])
def test_what_only_backtracking_engines_know_is_refused(pattern: str, where: str) -> None:
    schemas: dict[str, dict[str, Any]] = {
        "pattern": {"type": "string", "pattern": pattern},
        "names": {"type": "object", "patternProperties": {pattern: {}}},
    }
    ((_, message, _),) = told(schemas[where])
    assert "linear time" in message


def test_many_items_are_compared_in_time() -> None:
    assert accepts({"type": "array", "uniqueItems": True}, [[each] for each in range(LONG // 4)])


@pytest.mark.parametrize(
    ("schema", "place", "words", "suggestion"),
    [
        ({"type": "objekt"}, "type", "must be one of array, boolean", "object"),
        ({"type": ["string", "x"]}, "type", "or a list", ""),
        ({"type": "object", "properties": {"type": 7}}, "properties/type", "boolean or", ""),
        ({"type": "string", "format": "uuidd"}, "format", "no format", "uuid"),
        ({"type": "object", "properties": {"format": {"format": 1}}},
         "properties/format/format", "must be of type string", ""),
        ({"type": "string", "maxLength": -1}, "maxLength", "(`minimum`)", ""),
        ({"type": "object", "required": "a"}, "required", "must be of type array", ""),
        ({"$ref": "#nowhere"}, "", "leads to nothing", ""),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_told_without_its_values(
    schema: dict[str, Any], place: str, words: str, suggestion: str
) -> None:
    ((at, message, meant),) = told(schema)
    assert (at, meant) == (place, suggestion)
    assert words in message
    assert "objekt" not in message


def test_nothing_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.json"
        for target in (url, f"{url}#/a", f"file://{tmp_path}/a.json", str(tmp_path / "a.json")):
            ((place, message, _),) = told({"$ref": target})
            assert place == "$ref"
            assert "this document only" in message
            # Nor would the library, if that check were not there.
            with pytest.raises(SchemaError):
                module.validator_of({"$ref": target})
        with pytest.raises(BlockingIOError):
            server.accept()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    assert told({"type": "object"}) == [("", ABSENT, "")]
    assert "sidecar[schema]" in ABSENT


def test_the_package_is_imported_only_for_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[str] = []
    imported = importlib.import_module

    def noted(name: str) -> Any:
        wanted.append(name)
        return imported(name)

    monkeypatch.setattr(importlib, "import_module", noted)
    monkeypatch.delitem(sys.modules, module.__name__)
    imported(module.__name__)
    assert wanted == []
    MessageSchema({"type": "object"}, WHOLE, MISSING)
    assert wanted == ["jsonschema_rs"]
