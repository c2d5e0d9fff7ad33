"""Both servers under one folder, with one start and one stop."""

import asyncio
import fcntl
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from sidecar.embedded.postgres import EmbeddedPostgres
from sidecar.embedded.spawn import EmbeddedError, Server
from sidecar.embedded.valkey import EmbeddedValkey

# A cold disk and crash recovery fit in; a healthy start takes 0.2 s.
START_SECONDS: Final = 30.0
# A free port may be taken between asking and binding: then another one is tried.
ATTEMPTS: Final = 3


class Startable(Protocol):
    """What both servers can do."""

    @property
    def server(self) -> Server:
        """The running server."""
        ...

    def start(self) -> None:
        """Starts it."""
        ...

    def is_ready(self) -> bool:
        """Whether it answers."""
        ...


class EmbeddedStack:
    """PostgreSQL and Valkey in `folder`, for a ``with`` or an ``async with`` block.

    What was stored is found again at the next start. The folder takes one stack at a time. In the
    ``async with`` form waiting happens in another thread, starting in this one.

    Args:
        folder: created when missing.
        durable: off for tests, which gain speed and lose nothing.
        template: where the empty PostgreSQL cluster is kept for copies.

    Raises:
        EmbeddedError: on entering: in use, not installed, or a server did not start.
    """

    def __init__(
        self, folder: Path | str, *, durable: bool = True, template: Path | None = None
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            self.postgres = EmbeddedPostgres(
                self.folder / "postgres", durable=durable, template=template
            )
            self.valkey = EmbeddedValkey(self.folder / "valkey", durable=durable)
        except EmbeddedError:
            self._lock.close()
            raise
        self._started: list[Startable] = []
        self._attempts = 0

    @property
    def database_url(self) -> str:
        """The address of PostgreSQL, password included."""
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        """The address of Valkey, password included."""
        return self.valkey.url

    def prepare(self) -> None:
        """Takes the folder and makes what is missing in it; blocks for about a second at first.

        Raises:
            EmbeddedError: another stack runs in this folder.
        """
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(f"{self.folder} is in use by another running stack") from None
        self.postgres.prepare()
        self.valkey.prepare()

    def start(self) -> None:
        """Starts both; returns at once. Call it in a thread that outlives them."""
        for one in (self.postgres, self.valkey):
            one.start()
            self._started.append(one)

    def unready(self) -> list[Startable]:
        """Waits for both; blocks. Returns those that ended instead, to be started once more.

        Raises:
            EmbeddedError: one did not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        ended: list[Startable] = []
        for one in self._started:
            while not one.is_ready():
                if not one.server.is_running():
                    ended.append(one)
                    break
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"{one.server.name} does not answer")
                time.sleep(0.02)
        return ended

    def stop(self) -> None:
        """Stops both cleanly and gives the folder free. May be called again."""
        for one in reversed(self._started):
            one.server.stop()
        self._started.clear()
        self._lock.close()

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
            while ended := self.unready():
                self._start_again(ended)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self.prepare)
            self.start()
            while ended := await asyncio.to_thread(self.unready):
                self._start_again(ended)
        except BaseException:
            await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _start_again(self, ended: list[Startable]) -> None:
        """Starts `ended` servers anew, which takes other ports."""
        self._attempts += 1
        if self._attempts == ATTEMPTS:
            words = "; ".join(f"{one.server.name}: {one.server.last_words()}" for one in ended)
            raise EmbeddedError(f"did not start: {words}")
        for one in ended:
            one.start()
