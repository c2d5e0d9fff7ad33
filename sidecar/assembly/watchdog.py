"""The last resort at the end: a process that should be gone says what holds it, and goes.

What a loop closes at its end may wait for what never comes: a thread that writes to a full pipe, a
look-up of a name, a handle that was opened too late. A thread of its own looks at the time, because
the loop may be what hangs.
"""

import asyncio
import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_LOG: Final = logging.getLogger("sidecar")
# EX_SOFTWARE of sysexits.h: a fault of ours, and none of those who were served.
EXIT_CODE: Final = 70
_MOST_NAMED: Final = 20


class Watchdog:
    """Ends the process when it is still there at a deadline, unless it is disarmed before.

    Args:
        loop: whose tasks are told of.
        end: called with the exit code; nothing of Python's own end runs, which might wait as well.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, end: Callable[[int], object] = os._exit
    ) -> None:
        self._loop = loop
        self._end = end
        self._disarmed = threading.Event()
        self._main = threading.get_ident()

    def arm(self, seconds: float) -> None:
        """Wait so long from now on; the earliest deadline counts."""
        threading.Thread(target=self._watch, args=(seconds,), name="watchdog", daemon=True).start()

    def disarm(self) -> None:
        """All has ended, or nothing has to."""
        self._disarmed.set()

    def _watch(self, seconds: float) -> None:
        if self._disarmed.wait(seconds):
            return
        try:
            found = self._open()
        except Exception as error:  # noqa: BLE001  whatever it was, it must not keep us here
            found = repr(error)
        _LOG.error("still here %g s after the end began; open are: %s", seconds, found)
        self._end(EXIT_CODE)

    def _open(self) -> str:
        found = [*_tasks(self._loop), *_threads(), *_sockets(), *self._place()]
        named = found[:_MOST_NAMED]
        more = len(found) - len(named)
        return "; ".join(named) + (f"; and {more} more" if more else "")

    def _place(self) -> Iterator[str]:
        frame = sys._current_frames().get(self._main)  # noqa: SLF001  the documented way to it
        if frame is not None:
            last = traceback.extract_stack(frame)[-1]
            yield f"the loop's thread is in {last.name} ({last.filename}:{last.lineno})"


def _tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    try:
        return sorted(f"task {task.get_name()}" for task in asyncio.all_tasks(loop))
    except RuntimeError:  # they change too fast to be listed
        return ["tasks"]


def _threads() -> Iterator[str]:
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            yield f"thread {thread.name}"


def _sockets() -> Iterator[str]:
    """Peers of open connections."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(descriptor.name))) as opened:
                peer = opened.getpeername()
        except OSError:  # no socket, not connected, or gone meanwhile
            continue
        if isinstance(peer, tuple):
            yield f"connection to {peer[0]}:{peer[1]}"
