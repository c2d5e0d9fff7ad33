"""``sidecar completion``."""

import click
from click.shell_completion import get_completion_class

from sidecar.cli.console import say


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    \b
    Examples:
      source <(sidecar completion bash)         # in ~/.bashrc
      source <(sidecar completion zsh)          # in ~/.zshrc
      sidecar completion fish | source          # in ~/.config/fish/config.fish
    """  # noqa: D301 - click's mark for lines that stay as they are
    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101 - click knows all three
    say(complete(ctx.find_root().command, {}, "sidecar", "_SIDECAR_COMPLETE").source())
