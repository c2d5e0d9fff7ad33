"""The supervisor: starts workers, starts them again, passes signals on, waits for their end.

It is a plain loop around one wait for signals: no event loop, no threads, no connections, so that
it cannot hang with what it watches, and forking it is safe. Signals are blocked and taken one by
one (sigtimedwait(2)), so none is lost and nothing runs in between.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sidecar.assembly.board import Board

_LOG: Final = logging.getLogger("sidecar")
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# What workers are told: not the signal that came, for that may have been sent to all of a group
# (Ctrl-C, systemd), and the same one twice means to hurry.
_OTHER: Final = {signal.SIGTERM: signal.SIGINT, signal.SIGINT: signal.SIGTERM}
_LOOK_SECONDS: Final = 0.5
# Who lived so long is started again at once; who did not waits, twice as long each time.
_LIVED_SECONDS: Final = 10.0
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 30.0
# Beside the drain itself: last handshakes, last words, the audit sink.
_MARGIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Forked:
    """We are a child now.

    Attributes:
        place: which one.
    """

    place: int


@dataclass(slots=True)
class _Child:
    """A place and who fills it.

    Attributes:
        name: for the log.
        pid: 0 while nobody does.
        started_at: monotonic instant of its start.
        due_at: monotonic instant of its next start, while nobody does.
        wait_seconds: before the next start, if it dies soon.
    """

    name: str
    pid: int = 0
    started_at: float = 0.0
    due_at: float = 0.0
    wait_seconds: float = _FIRST_WAIT_SECONDS


class Supervisor:
    """Watches over workers and one companion, which lives a little longer than they do.

    Args:
        board: with a place for each worker, and the last for the companion.
        hung_seconds: a loop that has not turned for so long is killed.
        drain_seconds: what workers take to end, at most.
        ending: called once when the end begins.
        clock: monotonic; does not count suspension, or everybody would seem to hang after one.
        fork: as os.fork.
    """

    def __init__(
        self,
        board: Board,
        *,
        hung_seconds: float,
        drain_seconds: float,
        ending: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        fork: Callable[[], int] = os.fork,
    ) -> None:
        self._board = board
        self._hung_seconds = hung_seconds
        self._drain_seconds = drain_seconds
        self._ending = ending
        self._clock = clock
        self._fork = fork
        self._children = [_Child(f"worker {place}") for place in range(board.places - 1)]
        self._children.append(_Child("the admin listener"))
        self._companion = board.places - 1
        self._kill_at: float | None = None
        self._looked_at = clock()
        self._code = 0
        self._hurried_code = 0
        self._received: set[int] = set()
        self._served: set[int] = set()

    @property
    def _is_ending(self) -> bool:
        return self._kill_at is not None

    def run(self) -> int | Forked:
        """Until all have ended.

        Returns:
            The exit code: 0 when told to end and all workers ended well; 128 and the signal when it
            came twice, for then they did not take their time. Or, in a child, which one it is.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while True:
                forked = self._start_due()
                if forked is not None:
                    return forked
                self._take(signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS))
                self._reap()
                self._look()
                if self._is_ending and self._has_ended():
                    return self._hurried_code or self._code
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _start_due(self) -> Forked | None:
        now = self._clock()
        for place, child in enumerate(self._children):
            if child.pid or self._is_ending or now < child.due_at:
                continue
            self._board.started(place, now)
            child.started_at = now
            child.pid = self._fork()
            if child.pid == 0:
                return Forked(place)
        return None

    def _take(self, received: signal.struct_siginfo | None) -> None:
        if received is None:
            return
        if received.si_signo in {signal.SIGTERM, signal.SIGINT}:
            if received.si_signo in self._received:
                self._hurried_code = 128 + received.si_signo
            self._received.add(received.si_signo)
            self._end(_OTHER[signal.Signals(received.si_signo)])
        elif received.si_signo == signal.SIGHUP:
            self._send_all(signal.SIGHUP)

    def _end(self, passed_on: signal.Signals = signal.SIGTERM) -> None:
        if not self._is_ending:
            _LOG.info("ending: workers may finish what is in flight")
            self._kill_at = self._clock() + self._drain_seconds + _MARGIN_SECONDS
            self._ending()
        # A second time, too: then workers hurry.
        self._send_all(passed_on)

    def _send_all(self, number: signal.Signals) -> None:
        for child in self._children[: self._companion]:
            _send(child, number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for place, child in enumerate(self._children):
                if child.pid == pid:
                    self._ended(place, child, os.waitstatus_to_exitcode(status))

    def _ended(self, place: int, child: _Child, code: int) -> None:
        pid, child.pid = child.pid, 0
        if self._is_ending:
            # The signals themselves end only who had not begun to serve.
            if place != self._companion and code not in {0, -signal.SIGTERM, -signal.SIGINT}:
                self._code = 1
            return
        how = f"signal {-code}" if code < 0 else f"code {code}"
        if code > 0 and not self._has_served(place):
            # What was wrong at the start will be wrong again: say so as one process would.
            _LOG.error("%s could not start (%s)", child.name, how)
            self._code = 1
            self._end()
            return
        now = self._clock()
        if now - child.started_at >= _LIVED_SECONDS:
            child.wait_seconds = _FIRST_WAIT_SECONDS
            child.due_at = now
        else:
            child.due_at = now + child.wait_seconds
            child.wait_seconds = min(2 * child.wait_seconds, _LONGEST_WAIT_SECONDS)
        wait = child.due_at - now
        _LOG.error("%s (pid %d) ended: %s; again in %.1f s", child.name, pid, how, wait)

    def _has_served(self, place: int) -> bool:
        """Whether any of its kind ever served, also since the last look."""
        self._note_served()
        if place == self._companion:
            return place in self._served
        return bool(self._served - {self._companion})

    def _note_served(self) -> None:
        self._served.update(
            each for each in range(self._board.places) if self._board.is_ready(each)
        )

    def _look(self) -> None:
        """Kill who hangs; at the end, who does not end."""
        now = self._clock()
        # Stopped ourselves (a frozen container), we cannot tell: they get their time anew.
        was_away = now - self._looked_at > 4 * _LOOK_SECONDS
        self._looked_at = now
        self._note_served()
        for place, child in enumerate(self._children):
            if not child.pid:
                continue
            if was_away:
                self._board.beat(place, now)
            elif self._kill_at is not None:
                if now >= self._kill_at:
                    _LOG.error("%s does not end: it is killed", child.name)
                    _send(child, signal.SIGKILL)
            elif now - self._board.beat_of(place) > self._hung_seconds:
                _LOG.error("%s (pid %d) hangs: it is killed", child.name, child.pid)
                self._board.beat(place, now)
                _send(child, signal.SIGKILL)

    def _has_ended(self) -> bool:
        """Whether all workers have; then the companion is told, too."""
        if any(child.pid for child in self._children[: self._companion]):
            return False
        companion = self._children[self._companion]
        if companion.pid:
            _send(companion, signal.SIGTERM)
        return not companion.pid


def _send(child: _Child, number: signal.Signals) -> None:
    if child.pid:
        # Not reaped yet, so the pid is still its own.
        os.kill(child.pid, number)
