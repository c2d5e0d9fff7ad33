"""Child programs of the demonstration: started, watched, and ended together."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# After SIGTERM; then it is killed.
STOP_SECONDS: Final = 10.0
_LAST_WORDS_BYTES: Final = 1_000


class ChildError(Exception):
    """A child ended by itself or did not become ready. The message ends with its last words."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running program.

    Attributes:
        name: what people call it.
        process: the program.
        log: what it writes, but for standard output where that is read (`first_line`).
    """

    name: str
    process: asyncio.subprocess.Process
    log: Path

    async def first_line(self) -> str:
        """The first line of its standard output.

        Raises:
            ChildError: it ended before.
        """
        line = await self.process.stdout.readline() if self.process.stdout else b""
        if not line.endswith(b"\n"):
            raise await self.ended()
        return line.decode().strip()

    async def ended(self) -> ChildError:
        """Waits until it ends; what to raise then."""
        status = await self.process.wait()
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return ChildError(f"{self.name} ended with {how}. {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log, and where that is."""
        words = self.log.read_bytes()[-_LAST_WORDS_BYTES:].decode("utf-8", "replace").strip()
        return f"See {self.log}:\n{words}" if words else f"It wrote nothing to {self.log}."


@asynccontextmanager
async def running(
    name: str, command: Sequence[str], log: Path, *, announces: bool = False
) -> AsyncIterator[Child]:
    """Runs a command in a session of its own, so that Ctrl-C in the terminal is only for us.

    Args:
        name: what people call it.
        command: program and arguments; no secrets, the list of processes shows them.
        log: replaced.
        announces: whether its first line of standard output is wanted; it may write no more then.
    """
    with log.open("wb") as words:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if announces else words,
            stderr=words,
            start_new_session=True,
        )
    try:
        yield Child(name, process, log)
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
