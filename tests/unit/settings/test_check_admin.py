"""The secret of the admin API: where it may come from, and what it must look like."""

from pathlib import Path

import pytest

from sidecar.settings.load import parse
from sidecar.settings.problem import SettingsError
from sidecar.settings.schema import Root
from tests.unit.settings.test_load import ENVIRON, GOOD

TOKEN = "0123456789abcdef0123456789abcdef"


def settings(text: str, base: Path = Path()) -> Root:
    environ = ENVIRON | {"ADMIN": TOKEN, "SHORT": "hunter2"}
    return parse(f"{GOOD}{text}\n", environ=environ, file="f", base=base)


def refusal(text: str, base: Path = Path()) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(text, base)
    [problem] = caught.value.problems
    assert "hunter2" not in str(problem)
    return f"{problem.path}: {problem.message}"


def test_without_one_there_is_no_api() -> None:
    assert settings("admin: {address: 127.0.0.1:9}").admin.token is None


def test_it_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f" {TOKEN}\n")
    for text in ('admin: {token: "${ADMIN}"}', "admin: {token_file: token}"):
        root = settings(text, tmp_path)
        assert root.admin.token == TOKEN
        assert TOKEN not in repr(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('admin: {token: "${SHORT}"}', "admin.token: must be text of at least 32 characters"),
        (f"admin: {{token: hunter2 {TOKEN}}}", "admin.token: must be at least 32 of A-Z"),
        (f"admin: {{token: hunter2é{TOKEN}}}", "admin.token: must be at least 32 of A-Z"),
        (f"admin: {{token: {TOKEN}, token_file: token}}", "admin.token_file: is one too many"),
        ("admin: {token_file: nothing}", "admin.token_file: file nothing cannot be read"),
        ("admin: {token_file: .}", "admin.token_file: file . cannot be read"),
        ("admin: {token_file: short}", "admin.token_file: what the file holds must be at least"),
        ('admin: {token_file: "${NOTHING}"}', "admin.token_file: environment variable NOTHING"),
    ],
)
def test_a_bad_one_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("hunter2\n")
    assert refusal(text, tmp_path).startswith(message)
