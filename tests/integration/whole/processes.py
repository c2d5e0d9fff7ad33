"""Sidecars in processes of their own."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]


class Process:
    """A sidecar in a process of its own.

    Attributes:
        port: of its traffic listener.
        admin: URL of its admin listener.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._log = b""
        self._reading: asyncio.Task[None] | None = None
        self.port = 0
        self.admin = ""

    @classmethod
    async def start(cls, config: Path, stdout: int = asyncio.subprocess.DEVNULL) -> "Process":
        started = cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sidecar", "run", "--config", config,
                cwd=ROOT, stdout=stdout, stderr=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip
        await started._until_it_listens()
        started._reading = asyncio.create_task(started._read_on())
        return started

    async def _until_it_listens(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        async with asyncio.timeout(60):
            while True:
                line = await stderr.readline()
                assert line, self._log.decode()
                self._log += line
                found = re.search(rb"traffic at http://[^:]+:(\d+), admin at (\S+)", line)
                if found:
                    self.port, self.admin = int(found[1]), found[2].decode()
                    return

    async def _read_on(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        while piece := await stderr.read(65536):
            self._log += piece

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(60):
            code = await self._process.wait()
        if self._reading is not None:
            await self._reading
        return code

    @property
    def log(self) -> str:
        """What it has told so far."""
        return self._log.decode()

    async def stop(self) -> None:
        """Ends it by force, if it is still there."""
        if self._process.returncode is None:
            self._process.kill()
            await self.end()


@asynccontextmanager
async def running(config: Path) -> AsyncIterator[Process]:
    process = await Process.start(config)
    try:
        yield process
    finally:
        await process.stop()
