"""``sidecar up``: everything on one machine, with a demo application, to try it out."""

import asyncio
import contextlib
import os
import secrets
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import click

from sidecar.cli.console import Code, fail, say
from sidecar.demo import environment
from sidecar.demo.children import Child, ChildError, running
from sidecar.demo.configuration import DATABASE_FILE, KEY_FILE, REDIS_FILE, Places, configuration
from sidecar.demo.tenant import prepare
from sidecar.demo.tour import tour
from sidecar.embedded import EmbeddedError, EmbeddedStack
from sidecar.embedded.spawn import LAUNCHER, free_port
from sidecar.model.errors import SidecarError
from sidecar.settings.schema import Postgres
from sidecar.store.migrate import migrate
from sidecar.store.pool import Pool

# Imports and a first read of the stores fit in many times.
READY_SECONDS: Final = 30.0
# How soon a store that died is noticed.
WATCH_SECONDS: Final = 0.5


@click.command
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, envvar="PORT", show_envvar=True,
    help="Where clients connect, on 127.0.0.1; a free one by default.",
)  # fmt: skip
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(".sidecar"),
    show_default=True, help="Where everything is kept.",
)  # fmt: skip
def up(port: int, folder: Path) -> None:
    """Try it out: PostgreSQL, Valkey, a demo application, and the sidecar before it.

    Users and sessions are kept in the folder and found again by the next run. Ctrl-C ends all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(until_told_to_stop(everything(folder, port)))
    except (EmbeddedError, ChildError, SidecarError) as error:
        fail(str(error), code=Code.UNAVAILABLE)
    say("Everything has ended.", error=True)


async def until_told_to_stop(work: Awaitable[None]) -> None:
    """Runs `work` until it ends, or SIGINT or SIGTERM comes: then it is cancelled and unwinds.

    Raises:
        Exception: what `work` raised.
    """
    task = asyncio.ensure_future(work)
    told = False

    def stop() -> None:
        # Only the first signal counts: unwinding is bounded and must not be interrupted.
        nonlocal told
        if not told:
            told = True
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not told:
            raise
        say("", error=True)


async def everything(folder: Path, port: int) -> None:
    """Starts all parts in order, says what to try, and ends when one of them does.

    Raises:
        EmbeddedError: a store did not start.
        ChildError: the application or the sidecar did not start, or one of all ended.
    """
    async with AsyncExitStack() as stack:
        _progress("starting PostgreSQL and Valkey")
        stores = await stack.enter_async_context(EmbeddedStack(folder / "stores"))
        _progress("preparing the tenant, its users and their sessions")
        tokens = await _prepared(folder, stores)
        _progress("starting the demo application")
        application = await stack.enter_async_context(_demo(folder))
        places = Places(
            listen=f"127.0.0.1:{port or free_port()}",
            admin=f"127.0.0.1:{free_port()}",
            upstream=await application.first_line(),
            audit=(folder / "audit.jsonl").absolute(),
        )
        (folder / "sidecar.yaml").write_text(configuration(places))
        _progress("starting the sidecar")
        proxy = await stack.enter_async_context(_sidecar(folder))
        await _until_ready(f"http://{places.admin}/readyz", proxy)
        values = _variables(folder, places, stores) | tokens
        environment.write(folder / "demo.env", values)
        say(tour(url=values["SIDECAR_URL"], folder=folder, command=_command()))
        raise await _first_that_ends([application, proxy], stores)


def token_key(path: Path) -> str:
    """The key that signs session tokens: made once, so that tokens outlive a restart."""
    if not path.exists():
        environment.write_secret(path, secrets.token_urlsafe(48))
    return path.read_text().strip()


async def _prepared(folder: Path, stores: EmbeddedStack) -> dict[str, str]:
    """A migrated database with the tenant in it, files with secrets; returns the tokens."""
    environment.write_secret(folder / DATABASE_FILE, stores.database_url)
    environment.write_secret(folder / REDIS_FILE, stores.redis_url)
    await migrate(stores.database_url)
    async with Pool(Postgres(dsn=stores.database_url), "sidecar up") as pool:
        return await prepare(
            pool, token_key(folder / KEY_FILE), environment.read(folder / "demo.env")
        )


def _command() -> str:
    """How another terminal calls this program: it may not be on the path there."""
    beside = Path(sys.executable).with_name("sidecar")
    if shutil.which("sidecar") or not beside.exists():
        return "sidecar"
    return shlex.quote(
        os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
    )


def _demo(folder: Path) -> AbstractAsyncContextManager[Child]:
    command = _python("-m", "sidecar.demo", "--port", "0")
    return running("the demo application", command, folder / "demo.log", announces=True)


def _sidecar(folder: Path) -> AbstractAsyncContextManager[Child]:
    command = _python("-m", "sidecar", "run", "--config", str(folder / "sidecar.yaml"))
    return running("the sidecar", command, folder / "sidecar.log")


def _python(*arguments: str) -> list[str]:
    """Python as a child that gets SIGTERM when we end, however we end."""
    launcher = [sys.executable, "-I", "-S", LAUNCHER, "same", str(int(signal.SIGTERM))]
    return [*launcher, str(os.getpid()), sys.executable, *arguments]


async def _until_ready(url: str, proxy: Child) -> None:
    """Asks until the answer is 200.

    Raises:
        ChildError: the sidecar ended, or is not ready in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
        while time.monotonic() < deadline:
            if proxy.process.returncode is not None:
                raise await proxy.ended()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url) as answer:
                    if answer.status == HTTPStatus.OK:
                        return
            await asyncio.sleep(0.05)
    raise ChildError(f"the sidecar is not ready after {READY_SECONDS:.0f} s. {proxy.last_words()}")


def _variables(folder: Path, places: Places, stores: EmbeddedStack) -> dict[str, str]:
    return {
        "SIDECAR_URL": f"http://{places.listen}",
        "SIDECAR_ADMIN_URL": f"http://{places.admin}",
        "SIDECAR_CONFIG": str((folder / "sidecar.yaml").absolute()),
        "DATABASE_URL": stores.database_url,
        "REDIS_URL": stores.redis_url,
    }


async def _first_that_ends(children: list[Child], stores: EmbeddedStack) -> ChildError:
    """Waits until one of all ends by itself; what to raise then."""
    while True:
        for child in children:
            if child.process.returncode is not None:
                return await child.ended()
        for one in (stores.postgres, stores.valkey):
            if not one.server.is_running():
                return ChildError(f"{one.server.name} has ended: {one.server.last_words()}")
        await asyncio.sleep(WATCH_SECONDS)


def _progress(text: str) -> None:
    say(f"{text} ...", error=True)
