"""``python -m sidecar.demo``: runs the demo application until SIGTERM or Ctrl-C."""

import asyncio
import signal
from pathlib import Path

import click
import uvloop
from aiohttp import web

from sidecar.demo.application import create_application

# What is in flight may finish, but nobody waits long for a demonstration to end.
SHUTDOWN_SECONDS = 2.0


async def serve(port: int, unix: Path | None) -> None:
    """Serves until told to stop; writes the address on a line of standard output when ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # Connections of a proxy's pool live longer than the pool keeps them.
    runner = web.AppRunner(
        create_application(),
        access_log=None,
        keepalive_timeout=75.0,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        site: web.BaseSite
        if unix is None:
            site = web.TCPSite(runner, "127.0.0.1", port)
        else:
            site = web.UnixSite(runner, str(unix))
        await site.start()
        click.echo(_address(runner, unix))
        await stop.wait()
    finally:
        await runner.cleanup()


def _address(runner: web.AppRunner, unix: Path | None) -> str:
    return f"unix:{unix}" if unix else "http://{}:{}".format(*runner.addresses[0][:2])


@click.command()
@click.option("--port", default=0, show_default=True, help="On 127.0.0.1; 0 takes a free one.")
@click.option("--unix", type=click.Path(path_type=Path), help="A socket's path, instead of a port.")
def main(port: int, unix: Path | None) -> None:
    """Run the demo application; its address is written to standard output."""
    uvloop.run(serve(port, unix))


if __name__ == "__main__":
    main()
