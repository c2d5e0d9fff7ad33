"""``sidecar check-config``."""

from pathlib import Path

import click

from sidecar.cli.checking import examine_all, unreadable
from sidecar.cli.console import Code, emit, paint, say
from sidecar.settings.problem import Problem
from sidecar.settings.schema import Root


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def check_config(file: Path, *, as_json: bool) -> None:
    """Say all that is wrong with the configuration in FILE.

    Each problem is a line `file:line:column: setting: what is wrong`. Environment variables and
    files that the configuration refers to must be there; nothing is connected to.

    \b
    Examples:
      sidecar check-config sidecar.yaml
      sidecar check-config sidecar.yaml --json | jq '.problems[].message'

    Exit code: 0 nothing is wrong, 1 problems, 3 the file cannot be read.
    """  # noqa: D301 - click's mark for lines that stay as they are
    try:
        examination = examine_all(file)
    except OSError as error:
        unreadable(file, error)
    problems = examination.findings.problems()
    text = (
        "\n".join(map(line, problems))
        or f"{file}: {paint('no problems', 'green')}{_size(examination.root)}"
    )
    value = {"file": str(file), "ok": not problems, "problems": problems}
    emit(value, text, as_json=as_json)
    if problems:
        if not as_json:
            say(f"{len(problems)} problem{'s' * (len(problems) > 1)}", error=True)
        raise SystemExit(int(Code.NO))


def line(problem: Problem) -> str:
    """A problem as one line, its place in bold where the terminal can."""
    place = f"{problem.file}:{problem.line}:{problem.column}:"
    return click.style(place, bold=True) + str(problem)[len(place) :]


def _size(root: Root | None) -> str:
    assert root is not None  # noqa: S101 - without problems there are settings
    counts = ((len(root.routes), "route"), (len(root.upstreams), "upstream"))
    return " (" + ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counts) + ")"
