"""A JSON document as a setting: in place, read as YAML without surprises, or in a file."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.settings.document import parse_document
from sidecar.settings.free_form import DocumentReader, NoDocumentError, document_in_file
from sidecar.settings.positions import Positions
from sidecar.settings.problem import Findings


def read(text: str, base: Path = Path()) -> tuple[Any, list[str]]:
    """What `text` stands for, and what is wrong with it."""
    findings, positions = Findings("f"), Positions()
    node = parse_document(text, findings)
    assert node is not None
    reader = DocumentReader(findings, positions, lambda scalar, _path: scalar.text, base)
    value = reader.read(node, ())
    return value, [f"{each.path}: {each.message}" for each in findings.problems()]


def test_words_are_what_they_are_in_json() -> None:
    text = '{a: 1, b: -0.5, c: true, d: null, e: "1", f: word, g: [1, [x], {y: 1e3}], h: ""}'
    value, problems = read(text)
    assert problems == []
    assert value == {
        "a": 1, "b": -0.5, "c": True, "d": None, "e": "1", "f": "word",
        "g": [1, ["x"], {"y": 1000.0}], "h": "",
    }  # fmt: skip
    assert [type(value[name]) for name in "abc"] == [int, float, bool]


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "True", "010", "0x1f", "1_000", "1:30", "2026-11-23", "~", ".inf"]
)
def test_words_with_two_readings_are_asked_about(word: str) -> None:
    value, (problem,) = read(f"{{a: [{word}]}}")
    assert value == {"a": [None]}
    assert problem.startswith("a[0]: YAML reads this as ")


def test_a_list_is_no_document() -> None:
    value, problems = read("[1]")
    assert value == {}
    assert problems == [": must be a section, or the name of a JSON file"]


def test_a_file_is_named_and_not_referred_to() -> None:
    value, problems = read('"${file:a.json}"')
    assert value == {}
    assert problems == [": name the JSON file itself, without `${...}`"]


def test_a_file_holds_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, "x", null, true]}')
    assert read("a.json", tmp_path) == ({"a": [1, 2.5, "x", None, True]}, [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{secret", "is no JSON: Expecting property name enclosed in double quotes (line 1"),
        ('{"a": 1, "a": 2}', "a name stands twice"),
        ('{"a": NaN}', "no numbers of JSON"),
        ('["secret"]', "holds no JSON object"),
        ('"secret"', "holds no JSON object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_holds_none_is_told(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(NoDocumentError) as caught:
        document_in_file("a.json", tmp_path)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    value, (problem,) = read("a.json", tmp_path)
    assert value == {}
    assert problem == ": file a.json cannot be read: No such file or directory"
