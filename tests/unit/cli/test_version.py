import platform

import msgspec
import pytest
from click.testing import CliRunner

import sidecar
from sidecar.cli import version as module
from sidecar.cli.version import version


def test_people_read_a_table() -> None:
    lines = CliRunner().invoke(version, []).output.splitlines()
    assert lines[0].split() == ["sidecar", sidecar.__version__]
    assert lines[1].split() == ["python", platform.python_version()]
    assert {line.split()[0] for line in lines[2:]} == set(module._LIBRARIES)


def test_programs_read_json() -> None:
    value = msgspec.json.decode(CliRunner().invoke(version, ["--json"]).output)
    assert value["sidecar"] == sidecar.__version__
    assert value["libraries"]["msgspec"] == msgspec.__version__


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIBRARIES", ("no-such-library",))
    assert CliRunner().invoke(version, []).output.endswith("no-such-library  not installed\n")
    assert msgspec.json.decode(CliRunner().invoke(version, ["--json"]).output)["libraries"] == {
        "no-such-library": None
    }
