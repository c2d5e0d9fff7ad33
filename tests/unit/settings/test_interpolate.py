from pathlib import Path

import pytest

from sidecar.settings.interpolate import MAX_FILE_BYTES, Sources, UnresolvedError, expand

ENVIRON = {"A": "1", "B_2": "${A}", "EMPTY": ""}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    (tmp_path / "secret").write_text("  hunter2\n")
    (tmp_path / "large").write_bytes(b"a" * (MAX_FILE_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    return Sources(ENVIRON, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain $ text $", "plain $ text $"),
        ("${A}", "1"),
        ("x${A}y${A}", "x1y1"),
        ("${EMPTY}", ""),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A", "$A"),
        ("${file:secret}", "hunter2"),
        ("a ${file:secret} ${A}", "a hunter2 1"),
    ],
)
def test_references_are_replaced(text: str, expected: str, sources: Sources) -> None:
    assert expand(text, sources) == expected


def test_what_comes_in_is_not_expanded_again(sources: Sources) -> None:
    assert expand("${B_2}", sources) == "${A}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NONE_SUCH}", "environment variable NONE_SUCH is not set"),
        ("${file:none}", "file none cannot be read: No such file or directory"),
        ("${file:.}", "file . cannot be read: Is a directory"),
        ("${file:a\0b}", "file a\0b cannot be read: not a file name"),
        ("${file:large}", "file large is larger than 256 KiB"),
        ("${file:binary}", "file binary is not UTF-8 text"),
        ("${A", "`${` without `}`; write `$${` for the two characters themselves"),
        (
            "${}",
            (
                "between `${` and `}` stands the name of an environment variable, or `file:` and a "
                "path"
            ),
        ),
    ],
)
def test_what_cannot_be_resolved_is_said(text: str, message: str, sources: Sources) -> None:
    with pytest.raises(UnresolvedError) as caught:
        expand(text, sources)
    assert caught.value.message == message


def test_the_variable_that_was_meant_is_suggested(sources: Sources) -> None:
    with pytest.raises(UnresolvedError) as caught:
        expand("${EMPTI}", sources)
    assert caught.value.suggestion == "EMPTY"


def test_sources_do_not_show_the_environment(sources: Sources) -> None:
    assert "1" not in repr(sources).replace(hex(id(sources)), "").split("object")[0]
