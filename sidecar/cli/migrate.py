"""``sidecar migrate``."""

from pathlib import Path

import click

from sidecar.cli.admin_context import find_places, finish
from sidecar.cli.console import emit
from sidecar.store import migrate as runner


@click.command()
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), envvar="SIDECAR_CONFIG",
    help="Configuration that names the database; else DATABASE_URL does.",
)  # fmt: skip
@click.option("--status", "only_status", is_flag=True, help="Say what is missing; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def migrate(config: Path | None, *, only_status: bool, as_json: bool) -> None:
    """Create or update the database's tables.

    Safe to run again, and by several at once. With --status the exit code is 1
    when something is missing.
    """
    dsn = find_places(config).postgres.dsn
    if only_status:
        status = finish(lambda: runner.status(dsn))
        lines = [f"applied  {name}" for name in status.applied]
        lines += [f"missing  {name}" for name in status.pending]
        emit(status._asdict(), "\n".join(lines), as_json=as_json)
        raise SystemExit(1 if status.pending else 0)
    applied = finish(lambda: runner.migrate(dsn))
    text = "\n".join(f"applied {name}" for name in applied) or "nothing to do"
    emit({"applied": applied}, text, as_json=as_json)
