"""``sidecar version``."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Final

import click

import sidecar
from sidecar.cli.console import emit, table

# What a bug report should name. Read from their metadata: none is imported.
_LIBRARIES: Final = (
    "aiohttp", "uvloop", "httptools", "redis", "psycopg", "joserfc", "cryptography", "msgspec",
)  # fmt: skip


@click.command
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def version(*, as_json: bool) -> None:
    """Show the version of Sidecar and of what it stands on."""
    value = {
        "sidecar": sidecar.__version__,
        "python": platform.python_version(),
        "libraries": {name: _version_of(name) for name in _LIBRARIES},
    }
    rows = [("sidecar", sidecar.__version__), ("python", platform.python_version())]
    rows += [(name, _version_of(name) or "not installed") for name in _LIBRARIES]
    emit(value, table(rows), as_json=as_json)


def _version_of(library: str) -> str | None:
    try:
        return installed(library)
    except PackageNotFoundError:
        return None
