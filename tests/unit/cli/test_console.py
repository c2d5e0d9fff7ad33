import sys

import click
import pytest
from click.testing import CliRunner

from sidecar.cli.console import Code, emit, fail, note, paint, say, table


def test_an_error_goes_to_stderr_with_its_hint_and_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        fail("it broke", "mend it", Code.UNAVAILABLE)
    assert caught.value.code == 3
    written = capsys.readouterr()
    assert written.err == "error: it broke\nhint: mend it\n"
    assert written.out == ""


def test_without_a_hint_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fail("it broke")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: it broke\n"


def test_a_note_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    note("by the way")
    assert capsys.readouterr().err == "note: by the way\n"


def test_a_result_is_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": 1}, "a is 1", as_json=False)
    assert capsys.readouterr().out == "a is 1\n"
    emit({"a": 1}, "a is 1", as_json=True)
    assert capsys.readouterr().out == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize(("variable", "expected"), [("", "\x1b[31mx\x1b[0m\n"), ("1", "x\n")])
def test_no_color_is_respected(
    variable: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", variable)
    command = click.Command("c", callback=lambda: say(paint("x", "red")))
    result = CliRunner().invoke(command, color=True)
    assert result.output == expected


def test_colours_are_left_out_where_nobody_sees_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stdout.isatty()
    say(paint("x", "red"))
    assert capsys.readouterr().out == "x\n"


def test_columns_are_aligned() -> None:
    assert table([("a", "bbb", ""), ("ccc", "d", "e")]) == "a    bbb\nccc  d    e"
    assert table([("a", "b")], indent="  ") == "  a  b"
