import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.run import run
from sidecar.settings.schema import Root


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Root]:
    """What was served; the composition root is not needed to test its caller."""
    roots: list[Root] = []
    stand_in = ModuleType("sidecar.assembly")

    def serve(root: Root) -> int:
        roots.append(root)
        return 7

    def serve_with_workers(root: Root) -> int:
        roots.append(root)
        return 9

    monkeypatch.setattr(stand_in, "serve", serve, raising=False)
    monkeypatch.setattr(stand_in, "serve_with_workers", serve_with_workers, raising=False)
    monkeypatch.setitem(sys.modules, "sidecar.assembly", stand_in)
    return roots


def call(*arguments: str | Path, **environ: str) -> Result:
    return CliRunner().invoke(run, [str(argument) for argument in arguments], env=environ)


def test_the_settings_are_served_and_the_exit_code_is_the_servers(
    config: Path, served: list[Root]
) -> None:
    assert call("--config", config).exit_code == 7
    assert [root.listen.address for root in served] == ["127.0.0.1:8080"]


def test_the_file_may_come_from_the_environment(config: Path, served: list[Root]) -> None:
    assert call(SIDECAR_CONFIG=str(config)).exit_code == 7
    assert len(served) == 1


def test_another_address(config: Path, served: list[Root]) -> None:
    call("-c", config, "--listen", "[::1]:81")
    assert served[0].listen.address == "[::1]:81"
    assert served[0].listen.backlog == 1024


def test_several_workers(config: Path, served: list[Root]) -> None:
    assert call("-c", config, "--workers", "3").exit_code == 9
    assert call("-c", config, "--workers", "1").exit_code == 7
    assert call("-c", config, "--workers", "0").exit_code == 2
    assert [root.listen.workers for root in served] == [3, 1]


def test_a_wrong_address_is_wrong_usage(config: Path, served: list[Root]) -> None:
    result = call("-c", config, "--listen", "here")
    assert result.exit_code == 2
    assert "--listen: must be host:port, [v6]:port or unix:/path." in result.output
    assert not served


def test_a_configuration_with_problems_is_not_served(config: Path, served: list[Root]) -> None:
    config.write_text(config.read_text() + "cach: {}\n")
    result = call("-c", config)
    assert result.exit_code == 1
    assert result.stderr == (
        f"{config}:13:1: cach: unknown key (did you mean cache?)\n"
        f"error: {config} is refused\n"
        "hint: mend what is listed above; `sidecar check-config` looks again\n"
    )
    assert not served


def test_a_missing_file_is_unavailable(tmp_path: Path, served: list[Root]) -> None:
    result = call("-c", tmp_path / "none")
    assert result.exit_code == 3
    assert "cannot be read: No such file or directory" in result.stderr
    assert not served
