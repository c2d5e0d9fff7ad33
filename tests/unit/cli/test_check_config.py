from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from sidecar.cli.check_config import check_config


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(check_config, [str(argument) for argument in arguments])


def change(config: Path, old: str, new: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


def test_a_good_file(config: Path) -> None:
    result = check(config)
    assert result.exit_code == 0
    assert result.output == f"{config}: no problems (1 route, 1 upstream)\n"


def test_a_good_file_as_json(config: Path) -> None:
    result = check(config, "--json")
    assert result.exit_code == 0
    assert msgspec.json.decode(result.stdout) == {"file": str(config), "ok": True, "problems": []}


def test_problems_of_settings_and_routes_together(config: Path) -> None:
    change(config, "9000", "9000/api")
    change(config, "order_id}\n    permission", "id}\n    permission")
    result = check(config)
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first == (
        f"{config}:3:10: upstreams.app.url: must be http://host:port without a path: what was "
        "authorized is forwarded as it is"
    )
    assert second.startswith(f"{config}:12:15: routes[0].resource: ")
    assert "order_id" in second
    assert result.stderr == "2 problems\n"


def test_one_problem_is_not_two(config: Path) -> None:
    change(config, "9000", "9000/api")
    assert check(config).stderr == "1 problem\n"


def test_problems_as_json(config: Path) -> None:
    change(config, "dsn", "dns")
    result = check(config, "--json")
    assert result.exit_code == 1
    value = msgspec.json.decode(result.stdout)
    assert value["ok"] is False
    assert value["problems"] == [
        {
            "file": str(config),
            "line": 5,
            "column": 3,
            "path": "stores.postgres.dsn",
            "message": "is required",
            "suggestion": "",
        },
        {
            "file": str(config),
            "line": 6,
            "column": 5,
            "path": "stores.postgres.dns",
            "message": "unknown key",
            "suggestion": "dsn",
        },
    ]
    assert result.stderr == ""


def test_two_routes_for_the_same_requests(config: Path) -> None:
    config.write_text(
        config.read_text() + "  - path: /api/orders/{other}\n    access: authenticated\n"
    )
    result = check(config)
    assert result.exit_code == 1
    assert (
        f"{config}:13:11: routes[1].path: matches the same requests as routes[0]" in result.output
    )


def test_a_broken_route_does_not_hide_the_others(config: Path) -> None:
    change(
        config,
        "routes:",
        "routes:\n  - path: 5\n    access: public\n  - path: nowhere\n    access: public",
    )
    lines = check(config).stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{config}:10:11: routes[0].path: must be text")
    assert lines[1].startswith(f"{config}:12:11: routes[1].path: ")


def test_a_value_from_the_environment_is_not_shown_by_routes(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTION", "hunter2 and more")
    change(config, "orders:read", "${ACTION}")
    output = check(config).output
    assert "routes[0].permission" in output
    assert "${ACTION}" in output
    assert "hunter2" not in output


def test_a_file_that_is_no_yaml(config: Path) -> None:
    config.write_text("a: b: c")
    result = check(config)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{config}:1:5: a `:` where none can be")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    result = check(tmp_path / "none.yaml")
    assert result.exit_code == 3
    assert (
        result.stderr == f"error: {tmp_path}/none.yaml cannot be read: No such file or directory\n"
    )


def test_no_file_is_wrong_usage() -> None:
    assert check().exit_code == 2
