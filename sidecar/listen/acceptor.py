"""Accepting connections: bounded, never spinning, and to the last one in the queue at the end."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from sidecar.listen.opening import Opening

_LOG: Final = logging.getLogger(__name__)
# Then the loop turns for those who are connected; what is left in the queue wakes us again.
_AT_ONCE: Final = 8
# No descriptor or no memory: trying again at once would only burn what others need.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0
_TELL_AGAIN_SECONDS: Final = 10.0
# Another worker takes what comes meanwhile.
_FULL_PAUSE_SECONDS: Final = 0.05
# At the end: handshakes that are under way.
_LAST_HANDSHAKES_SECONDS: Final = 1.0


class Acceptor:
    """Accepts connections.

    Args:
        opening: makes connections of what was accepted.
        is_full: whether there are as many connections as there may be.
        has_siblings: whether other workers accept from the same sockets. Then what is beyond the
            ceiling is left to them; otherwise it is closed at once.

    Attributes:
        refused: connections closed at once because there were too many.
        pauses: how often there was no descriptor or memory for another connection.
    """

    def __init__(
        self,
        opening: Opening,
        is_full: Callable[[], bool],
        *,
        has_siblings: bool = False,
    ) -> None:
        self.refused = 0
        self.pauses = 0
        self._listeners: tuple[socket.socket, ...] = ()
        self._opening = opening
        self._is_full = is_full
        self._has_siblings = has_siblings
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._resuming: asyncio.TimerHandle | None = None
        self._pause_seconds = _PAUSE_SECONDS
        self._tell_at = 0.0
        self._stopped = False

    def start(self, listeners: Sequence[socket.socket]) -> None:
        """Begin to accept from `listeners`: not blocking, and closed at the end."""
        self._listeners = tuple(listeners)
        self._resume()

    def _resume(self) -> None:
        self._resuming = None
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept_some, listener)

    async def stop(self) -> None:
        """Accept what is in the queue, close, and let handshakes end.

        Siblings go on with the queue, so what is beyond our ceiling is left to them.
        """
        self._stopped = True
        self._pause()
        for listener in self._listeners:
            if not self._has_siblings:
                # From now on the kernel lets nobody into the queue (listen(2)).
                listener.listen(0)
            while not self._is_left_to_siblings() and self._accept_one(listener):
                pass
            listener.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_HANDSHAKES_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept_some(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if self._is_left_to_siblings():
                self._pause(_FULL_PAUSE_SECONDS)
                return
            if not self._accept_one(listener):
                return

    def _is_left_to_siblings(self) -> bool:
        return self._has_siblings and self._is_full()

    def _accept_one(self, listener: socket.socket) -> bool:
        """Accept one connection; False when there is none to be had now."""
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._run_short(error)
                return False
            # Errors of the connection itself, which is gone (accept(2), "Error handling").
            return True
        self._pause_seconds = _PAUSE_SECONDS
        if self._is_full():
            self.refused += 1
            sock.close()
            return True
        sock.setblocking(False)
        self._open(sock, peer)
        return True

    def _open(self, sock: socket.socket, peer: Any) -> None:
        task = self._loop.create_task(self._opening.open(sock, peer))
        self._tasks.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a connection could not be opened", exc_info=task.exception())

    def _run_short(self, error: OSError) -> None:
        """Leave clients in the queue for a while; those who are connected are served."""
        now = self._loop.time()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_AGAIN_SECONDS
            _LOG.warning("accepting pauses: %s", error.strerror)
        self.pauses += 1
        self._pause(self._pause_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _pause(self, seconds: float | None = None) -> None:
        """Accept no more; again after `seconds`, if given and this is not the end."""
        for listener in self._listeners:
            if listener.fileno() >= 0:
                self._loop.remove_reader(listener.fileno())
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if seconds is not None and not self._stopped:
            self._resuming = self._loop.call_later(seconds, self._resume)
