"""A group of commands that imports a command's module only when that command is called.

`sidecar version` must not pay for aiohttp, psycopg and the rest: they take longer to import than
the command to run. So the short help of each command stands in a table here and not there.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from sidecar.settings.problem import nearest


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that was not imported yet.

    Attributes:
        module: where it lives.
        attribute: its name there.
        summary: one line for the list of commands.
    """

    module: str
    attribute: str
    summary: str


class LazyGroup(click.Group):
    """A click group whose commands come from a table.

    Args:
        table: name -> command, in the order of the help.
        attrs: as for `click.Group`.
    """

    def __init__(self, *, table: Mapping[str, Lazy], **attrs: Any) -> None:
        super().__init__(**attrs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the command `cmd_name`; None when there is none."""
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}:{entry.attribute} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a name that does not exist."""
        name = args[0]
        if name not in self._table and not name.startswith("-"):
            meant = nearest(name, self._table)
            tail = f" Did you mean `{meant}`?" if meant else ""
            ctx.fail(f"There is no command `{name}`.{tail}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The list of commands, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._table.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands without importing them; options as usual."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=entry.summary)
            for name, entry in self._table.items()
            if name.startswith(incomplete)
        ]
