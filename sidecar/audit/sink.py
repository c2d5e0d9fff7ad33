"""Where audit records go. Writing may block (a full pipe), so it happens in a thread, together."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.audit.administration import Administration
from sidecar.audit.record import Record

_LOG: Final = logging.getLogger(__name__)
# Waiting for a sink that does not keep up: about 40 MB; then records are counted as dropped.
_MOST_WAITING: Final = 100_000


class AuditSink:
    """Collects records and writes them every so often.

    Args:
        write: writes bytes; may block and raise OSError. Called in a thread, one call at a time.
        flush_seconds: time between two writes.

    Attributes:
        dropped: records lost because the sink did not keep up or failed.
    """

    def __init__(self, write: Callable[[bytes], object], flush_seconds: float) -> None:
        self.dropped = 0
        self._write = write
        self._flush_seconds = flush_seconds
        self._waiting: list[Record | Administration] = []
        self._encoder = msgspec.json.Encoder()
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def add(self, record: Record | Administration) -> None:
        """Write `record` soon."""
        if len(self._waiting) >= _MOST_WAITING:
            self.dropped += 1
        else:
            self._waiting.append(record)

    def start(self) -> None:
        """Begin writing on the running loop."""
        self._task = asyncio.create_task(self._run(), name="audit")

    async def close(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            # Shielded: a cancelled flush would not know whether its records were written.
            await asyncio.shield(asyncio.ensure_future(self._flush()))

    async def _flush(self) -> None:
        # One write at a time, and whoever closes waits for the one that is under way.
        async with self._writing:
            records = self._waiting
            if not records:
                return
            self._waiting = []
            try:
                await asyncio.to_thread(self._write_lines, records)
            except OSError as error:
                self.dropped += len(records)
                _LOG.error("audit records could not be written: %s", error)

    def _write_lines(self, records: list[Record | Administration]) -> None:
        self._write(self._encoder.encode_lines(records))


def open_sink(target: str, flush_seconds: float) -> AuditSink | None:
    """A sink for ``stdout``, ``stderr``, ``file:/path`` or ``off`` (None).

    Raises:
        OSError: the file cannot be opened.
    """
    if target == "off":
        return None
    if target in {"stdout", "stderr"}:
        stream = sys.stdout if target == "stdout" else sys.stderr
        return AuditSink(_writer(stream.fileno()), flush_seconds)
    path = target.removeprefix("file:")
    # Only the owner reads who did what.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return AuditSink(_writer(descriptor), flush_seconds)


def _writer(descriptor: int) -> Callable[[bytes], object]:
    def write(octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            view = view[os.write(descriptor, view) :]

    return write
