"""``sidecar run``."""

from pathlib import Path

import click
import msgspec

from sidecar.cli.checking import load_or_fail
from sidecar.settings.address import parse_address
from sidecar.settings.schema import Root


@click.command
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), required=True, envvar="SIDECAR_CONFIG",
    show_envvar=True, help="The configuration file.",
)  # fmt: skip
@click.option(
    "--listen", metavar="ADDRESS",
    help="Listen here instead of at listen.address: host:port, [v6]:port or unix:/path.",
)  # fmt: skip
@click.option(
    "--workers", metavar="N", type=click.IntRange(1, 64),
    help="Serve with so many processes instead of listen.workers.",
)  # fmt: skip
def run(config: Path, listen: str | None, workers: int | None) -> None:
    """Run the sidecar until it is told to stop (SIGTERM or Ctrl-C).

    A configuration with any problem is refused as a whole. On SIGTERM what is in flight may finish;
    SIGHUP looks at certificates anew.

    \b
    Examples:
      sidecar run --config sidecar.yaml
      sidecar run --config sidecar.yaml --listen 0.0.0.0:8080
      sidecar run --config sidecar.yaml --workers 2
    """  # noqa: D301 - click's mark for lines that stay as they are
    root = load_or_fail(config, load_hooks=True)
    if listen is not None:
        root = listening_at(root, listen)
    if workers is not None:
        root = msgspec.structs.replace(
            root, listen=msgspec.structs.replace(root.listen, workers=workers)
        )
    # The composition root brings every library; a wrong configuration must not wait for them.
    from sidecar.assembly import serve, serve_with_workers  # noqa: PLC0415

    raise SystemExit(serve_with_workers(root) if root.listen.workers > 1 else serve(root))


def listening_at(root: Root, address: str) -> Root:
    """`root` with another address to listen at.

    Raises:
        click.BadParameter: it is not an address.
    """
    try:
        parse_address(address)
    except ValueError as error:
        raise click.BadParameter(f"must be {error}.", param_hint="--listen") from None
    return msgspec.structs.replace(
        root, listen=msgspec.structs.replace(root.listen, address=address)
    )
