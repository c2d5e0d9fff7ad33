from pathlib import Path

import pytest
from msgspec import inspect

from sidecar.settings import reference, schema


def test_the_page_is_current() -> None:
    assert reference.TARGET.read_text() == reference.reference(), (
        "run python -m sidecar.settings.reference"
    )


def test_every_setting_is_described() -> None:
    """Each has words of its own, but for sections (which have a heading) and speaking names."""
    speaking = {"connect_seconds", "user", "tenant", "roles", "sessions", "tokens", "users"}
    speaking.add("queue_seconds")  # told together with the connections
    lines = reference.reference().splitlines()
    silent = {
        line.split("`")[1] for line in lines if line.startswith("| `") and line.endswith("|  |")
    }
    sections = {
        field.name
        for field in inspect.type_info(schema.Root).fields  # type: ignore[attr-defined] # a struct
    }
    nested = {"limits", "deadlines", "postgres", "jwks", "session", "issuers"}
    assert silent <= speaking | sections | nested


def test_comments_and_docstrings_become_words() -> None:
    page = reference.reference()
    assert (
        "| `fields` | a whole number of at least 1 | `100` | Browsers send 15 to 30 fields. (431) |"
        in page
    )
    assert "| `issuer` | text | **required** | Exact value of `iss`. |" in page
    assert "## `credentials.issuers[].jwks`" in page
    assert "May be `null`." in page


def test_the_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "docs" / "configuration.md"
    monkeypatch.setattr(reference, "TARGET", target)
    reference.main()
    assert target.read_text() == reference.reference()
    assert capsys.readouterr().out == f"wrote {target}\n"
