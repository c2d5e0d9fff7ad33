"""What `sidecar doctor` says, and with which exit code, where nothing real is behind it."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sidecar.cli.doctor import doctor, render
from sidecar.cli.doctor_findings import fine, problem, warning

NOWHERE = "postgresql://u:hunter2@127.0.0.1:9/db"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "SIDECAR_DATABASE_URL", "REDIS_URL", "SIDECAR_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")


def run(*words: str) -> Result:
    result = CliRunner().invoke(doctor, list(words))
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output
    return result


def test_without_anything_to_look_at_it_is_wrong_usage() -> None:
    result = run()
    assert result.exit_code == 2
    assert "DATABASE_URL" in result.stderr


def test_an_option_that_is_none_is_wrong_usage() -> None:
    assert run("--confg", "x").exit_code == 2


def test_stores_that_are_away_are_problems_and_all_else_is_looked_at(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSN", NOWHERE)
    text = config.read_text().replace(
        "    dsn: ${DSN}\n", '    dsn: ${DSN}\n  redis: {url: "redis://:hunter2@127.0.0.1:9"}\n'
    )
    text += "audit: {sink: 'file:/nowhere/at/all'}\n"
    config.write_text(text.replace("127.0.0.1:9000", "127.0.0.1:9"))
    result = run("--config", str(config))
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == f"ok       configuration  {config} is fine"
    expected = {
        "postgresql": "Connection refused",
        "redis": "cannot reach 127.0.0.1:9",
        "upstream": "app at http://127.0.0.1:9 accepts no connection: Connection refused",
        "audit": "the folder of /nowhere/at/all does not exist",
    }
    for area, part in expected.items():
        [found] = [line for line in lines if line.startswith(f"problem  {area} ")]
        assert part in found
        assert "-> " in lines[lines.index(found) + 1], "it says what to do"
    assert lines[-1].startswith("4 problems, ")


def test_json_holds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    result = run("--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ok"]) == (1, False)
    states = {each["area"]: each["state"] for each in told["findings"]}
    assert states == {"postgresql": "problem", "redis": "warning", "machine": "ok"}
    assert set(told["findings"][0]) == {"area", "state", "message", "advice"}


@pytest.mark.parametrize("dsn", ["hunter2 ==", "postgresql://u:hunter2@h:port/x"])
def test_addresses_that_cannot_be_read_are_not_quoted(
    monkeypatch: pytest.MonkeyPatch, dsn: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("REDIS_URL", "http://:hunter2@h")
    result = run()
    assert result.exit_code == 1
    assert "stores.redis.url cannot be read" in result.stdout


def test_a_configuration_with_problems_ends_there(config: Path) -> None:
    config.write_text("upstream: {}\n")
    result = run("-c", str(config))
    assert result.exit_code == 1
    assert "did you mean upstreams?" in result.stdout
    assert result.stdout.count("mend this first") == 1
    result = run("-c", str(config.parent / "none.yaml"))
    assert result.exit_code == 1
    assert "cannot be read" in result.stdout


def test_the_report_aligns_and_counts() -> None:
    found = [fine("a", "well"), warning("long", "so so", "do this"), problem("b", "bad")]
    assert click.unstyle(render(found)).splitlines() == [
        "ok       a     well",
        "warning  long  so so",
        "               -> do this",
        "problem  b     bad",
        "",
        "1 problem, 1 warning, 1 ok",
    ]
