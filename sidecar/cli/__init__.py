"""The command line: `main` is the group, each command lives in a module of its own."""

from typing import Final

import click

import sidecar
from sidecar.cli.lazy import Lazy, LazyGroup

COMMANDS: Final = {
    "up": Lazy("sidecar.cli.up", "up", "Try it out: starts everything, with a demo application."),
    "run": Lazy("sidecar.cli.run", "run", "Run the sidecar."),
    "check-config": Lazy(
        "sidecar.cli.check_config", "check_config", "Say all that is wrong with a configuration."
    ),
    "doctor": Lazy(
        "sidecar.cli.doctor", "doctor", "Look at everything a sidecar needs: stores, keys, limits."
    ),
    "explain": Lazy(
        "sidecar.cli.explain", "explain", "Say why a request would be permitted or refused."
    ),
    "admin": Lazy(
        "sidecar.cli.admin", "admin", "Manage tenants, users, roles, grants and sessions."
    ),
    "migrate": Lazy("sidecar.cli.migrate", "migrate", "Create or update the database's tables."),
    "version": Lazy("sidecar.cli.version", "version", "Show the version."),
    "completion": Lazy("sidecar.cli.completion", "completion", "Print completion for a shell."),
}

_HELP = """An authorization proxy that runs beside each application.

It takes the application's traffic, finds out who is asking, decides from
memory whether they may, and forwards only what is authorized.

\b
Begin with:
  sidecar up                           all of it, with a demo application
  sidecar check-config sidecar.yaml    what is wrong with a configuration
  sidecar doctor -c sidecar.yaml       and with the stores it names
  sidecar run --config sidecar.yaml    the real thing

\b
Exit codes: 0 fine or permitted, 1 problems found or refused, 2 wrong usage,
3 a file or store is not available. NO_COLOR is respected.
"""

main: Final = LazyGroup(
    name="sidecar",
    table=COMMANDS,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(sidecar.__version__, prog_name="sidecar", message="%(prog)s %(version)s")(main)
