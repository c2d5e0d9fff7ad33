import click
import pytest
from click.testing import CliRunner

from sidecar.cli.lazy import Lazy, LazyGroup

TABLE = {
    "version": Lazy("sidecar.cli.version", "version", "Show the version."),
    "broken": Lazy("sidecar.cli.version", "emit", "Not a command."),
    "absent": Lazy("sidecar.cli.no_such_module", "absent", "Never imported."),
}


@pytest.fixture
def group() -> LazyGroup:
    return LazyGroup(name="g", table=TABLE)


def test_help_lists_commands_in_order_without_importing_them(group: LazyGroup) -> None:
    result = CliRunner().invoke(group, ["--help"])
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.split("Commands:")[1].splitlines() if line]
    assert listed == ["version", "broken", "absent"]
    assert "Never imported." in result.output


def test_a_command_is_imported_when_it_is_called(group: LazyGroup) -> None:
    result = CliRunner().invoke(group, ["version"])
    assert result.exit_code == 0
    assert result.output.startswith("sidecar ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("verzion", "There is no command `verzion`. Did you mean `version`?"),
        ("xyz", "There is no command `xyz`."),
    ],
)
def test_an_unknown_command_is_told(group: LazyGroup, name: str, message: str) -> None:
    result = CliRunner().invoke(group, [name])
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == f"Error: {message}"


def test_an_unknown_option_is_clicks_business(group: LazyGroup) -> None:
    result = CliRunner().invoke(group, ["--nope"])
    assert result.exit_code == 2
    assert "No such option" in result.output


def test_a_table_that_names_no_command_is_a_bug(group: LazyGroup) -> None:
    with pytest.raises(TypeError, match=r"sidecar\.cli\.version:emit is not a command"):
        group.get_command(click.Context(group), "broken")
    assert group.get_command(click.Context(group), "none") is None


def test_names_are_completed_without_imports(group: LazyGroup) -> None:
    context = click.Context(group)
    assert [item.value for item in group.shell_complete(context, "")] == list(TABLE)
    assert [item.value for item in group.shell_complete(context, "v")] == ["version"]
    assert [item.value for item in group.shell_complete(context, "--h")] == ["--help"]
