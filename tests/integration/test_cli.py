"""The command as it is installed: as a process, with its exit codes and streams."""

import subprocess
import sys
from pathlib import Path

import pytest

import sidecar

ROOT = Path(__file__).parents[2]
ENVIRON = {
    "PATH": "/usr/bin:/bin",
    "SIDECAR_DATABASE_URL": "postgresql://sidecar:hunter2@localhost/sidecar",
    "SIDECAR_REDIS_URL": "redis://:hunter2@localhost",
    "SIDECAR_TOKEN_KEY": "hunter2hunter2hunter2hunter2hunter2",
}


def run(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sidecar", *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRON | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version_is_told() -> None:
    ran = run("version")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split()[:2] == ["sidecar", sidecar.__version__]


def test_without_a_command_there_is_help() -> None:
    ran = run()
    assert ran.returncode == 2
    assert "Usage: sidecar [OPTIONS] COMMAND" in ran.stderr


@pytest.mark.parametrize("file", ["config/sidecar.yaml", "config/examples/minimal.yaml"])
def test_the_files_people_copy_are_in_order(file: str) -> None:
    ran = run("check-config", file)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"{file}: no problems (")


def test_problems_come_with_exit_code_1_and_no_secret(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    text = (ROOT / "config/sidecar.yaml").read_text()
    wrong.write_text(
        text.replace("realm: sidecar", "realm: no").replace("upstream: app", "upstream: ap")
    )
    ran = run("check-config", wrong)
    assert ran.returncode == 1
    assert [line.split(": ")[1] for line in ran.stdout.splitlines()] == [
        "credentials.realm",
        "routes[1].upstream",
    ]
    assert "hunter2" not in ran.stdout + ran.stderr
    assert "\x1b" not in ran.stdout


def test_a_missing_file_ends_with_3() -> None:
    ran = run("check-config", "none.yaml")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr == "error: none.yaml cannot be read: No such file or directory\n"


def test_a_broken_configuration_is_never_run(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 2\n")
    ran = run("run", "--config", wrong)
    assert ran.returncode == 1
    assert "version: must be 1" in ran.stderr
    assert ran.stderr.splitlines()[-2] == f"error: {wrong} is refused"


def test_commands_are_completed() -> None:
    ran = run(_SIDECAR_COMPLETE="bash_complete", COMP_WORDS="sidecar ch", COMP_CWORD="1")
    assert ran.stdout.splitlines() == ["plain,check-config"]


def test_a_misspelt_command_is_suggested() -> None:
    ran = run("explian")
    assert ran.returncode == 2
    assert (
        ran.stderr.splitlines()[-1]
        == "Error: There is no command `explian`. Did you mean `explain`?"
    )
