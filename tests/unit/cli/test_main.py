"""The group itself: what it costs to start, and that its table tells the truth."""

import importlib.util
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import sidecar
from sidecar.cli import COMMANDS, main

HEAVY = ("aiohttp", "psycopg", "redis", "joserfc", "cryptography", "uvloop", "opentelemetry")
MINE = [name for name in COMMANDS if importlib.util.find_spec(COMMANDS[name].module) is not None]


@pytest.mark.parametrize(
    "arguments",
    [["version"], ["--help"], ["--version"], ["run", "--help"], ["explain", "--help"],
     ["check-config", "--help"], ["doctor", "--help"], ["completion", "bash"]],
    ids=" ".join,
)  # fmt: skip
def test_small_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from sidecar.cli import main\n"
        "try:\n"
        f"    main({arguments!r}, prog_name='sidecar')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("name", MINE)
def test_a_listed_command_exists_and_explains_itself(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_the_table_names_all_commands() -> None:
    assert list(COMMANDS) == [
        "up", "run", "check-config", "doctor", "explain", "admin", "migrate", "version",
        "completion",
    ]  # fmt: skip


def test_help_shows_how_to_begin_and_the_exit_codes() -> None:
    result = CliRunner().invoke(main, ["-h"])
    assert "sidecar up " in result.output
    assert "Exit codes: 0 fine or permitted, 1 problems found or refused" in result.output
    for name, entry in COMMANDS.items():
        assert f"  {name} " in result.output
        assert entry.summary in result.output


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(main, ["--version"], prog_name="sidecar")
    assert result.output == f"sidecar {sidecar.__version__}\n"


@pytest.mark.parametrize(
    ("shell", "part"),
    [("bash", "complete "), ("zsh", "#compdef sidecar"), ("fish", "complete --no-files")],
)
def test_completion_is_printed(shell: str, part: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert part in result.output
    assert "_SIDECAR_COMPLETE" in result.output


def test_an_unknown_shell_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["completion", "tcsh"]).exit_code == 2
