"""The supervisor in a scripted world: when who is started, killed, told, and what it ends with."""

import itertools
import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.assembly.board import Board
from sidecar.assembly.supervising import Forked, Supervisor

TERM, INT, KILL, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP


class World:
    """Time, processes and signals. Each wait of the supervisor lets half a second pass.

    Attributes:
        now: the monotonic instant.
        alive: pids by place.
        started: (instant, place) of each start.
        told: (place, signal) that were sent.
        at: what happens at an instant, once.
        obedient: whether SIGTERM ends a process at the next look.
        silent: places whose loop does not turn.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.now = 100.0
        self.alive: dict[int, int] = {}
        self.started: list[tuple[float, int]] = []
        self.told: list[tuple[int, int]] = []
        self.at: dict[float, Callable[[], Any]] = {}
        self.obedient = True
        self.silent: set[int] = set()
        self.never_ready: set[int] = set()
        self._zombies: list[tuple[int, int]] = []
        self._signals: list[int] = []
        self._pids = 1000

    def fork(self) -> int:
        self._pids += 1
        place = next(each for each in range(self.board.places) if each not in self.alive)
        self.alive[place] = self._pids
        self.started.append((self.now, place))
        return self._pids

    def die(self, place: int, status: int) -> None:
        """`status` as of wait(2): a signal, or an exit code in the upper byte."""
        self._zombies.append((self.alive.pop(place), status))

    def send(self, number: int) -> None:
        self._signals.append(number)

    def sigtimedwait(self, _: object, seconds: float) -> Any:
        if self._signals:
            return SimpleNamespace(si_signo=self._signals.pop(0))
        self.now += seconds
        for place in self.alive:
            if place not in self.silent:
                self.board.beat(place, self.now)
                if place not in self.never_ready:
                    self.board.tell_ready(place)
        for instant in sorted(self.at):
            if instant <= self.now:
                self.at.pop(instant)()
        return None

    def waitpid(self, _: int, __: int) -> tuple[int, int]:
        if self._zombies:
            return self._zombies.pop(0)
        if not self.alive:
            raise ChildProcessError
        return 0, 0

    def kill(self, pid: int, number: int) -> None:
        place = next(each for each, found in self.alive.items() if found == pid)
        self.told.append((place, number))
        if number == KILL:
            self.die(place, KILL)
        elif number in {TERM, INT} and self.obedient:
            self.die(place, 0)

    def starts_of(self, place: int) -> list[float]:
        return [instant - 100 for instant, found in self.started if found == place]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Two workers and their companion."""
    world = World(Board(3))
    for name in ("waitpid", "kill"):
        monkeypatch.setattr(os, name, getattr(world, name))
    monkeypatch.setattr(signal, "sigtimedwait", world.sigtimedwait)
    return world


def supervise(world: World, fork: Callable[[], int] | None = None) -> int | Forked:
    def ending() -> None:
        world.told.append((-1, 0))

    return Supervisor(
        world.board,
        hung_seconds=10.0,
        drain_seconds=20.0,
        ending=ending,
        clock=lambda: world.now,
        fork=fork or world.fork,
    ).run()


def test_all_are_started_and_end_in_order(world: World) -> None:
    world.at = {110.0: lambda: world.send(INT)}
    assert supervise(world) == 0
    assert world.started == [(100.0, 0), (100.0, 1), (100.0, 2)]
    assert world.told == [(-1, 0), (0, TERM), (1, TERM), (2, TERM)]


def test_a_child_learns_which_one_it_is(world: World) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    pids = iter([7, 0])
    assert supervise(world, lambda: next(pids)) == Forked(1)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask, "it takes signals again"
    assert [world.board.starts_of(place) for place in range(3)] == [1, 1, 0]


def test_who_dies_soon_waits_longer_each_time(world: World) -> None:
    def crash() -> None:
        world.die(0, signal.SIGSEGV)
        if len(world.starts_of(0)) < 9:
            world.at[world.now + 0.4] = again
        else:
            world.at[world.now + 0.4] = lambda: world.send(TERM)

    def again() -> None:
        world.at[world.now + 0.4] = crash if 0 in world.alive else again

    world.at = {100.5: crash}
    assert supervise(world) == 0
    starts = world.starts_of(0)
    waits = [round(after - before) for before, after in itertools.pairwise(starts)]
    assert waits == sorted(waits)
    assert waits[-1] >= 30
    assert world.starts_of(1) == [0.0], "the other goes on"


def test_who_lived_is_started_at_once(world: World) -> None:
    world.at = {
        150.0: lambda: world.die(1, 3 << 8),
        160.0: lambda: world.send(TERM),
    }
    assert supervise(world) == 0
    assert world.starts_of(1) == [0.0, 50.0]
    assert world.board.starts_of(1) == 2


def test_who_hangs_is_killed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.at = {
        105.0: lambda: world.silent.add(0),
        117.0: world.silent.clear,
        140.0: lambda: world.send(TERM),
    }
    assert supervise(world) == 0
    assert world.told[0] == (0, KILL)
    assert len(world.starts_of(0)) == 2
    assert "worker 0 (pid 1001) hangs: it is killed" in caplog.text


def test_a_supervisor_that_stood_still_kills_nobody(world: World) -> None:
    """A frozen container: everybody's last sign is old, and nobody hangs."""

    def freeze() -> None:
        world.now += 3600

    world.at = {110.0: freeze, 3720.0: lambda: world.send(TERM)}
    assert supervise(world) == 0
    assert KILL not in [number for _, number in world.told]


def test_hangups_are_passed_on_to_workers(world: World) -> None:
    world.at = {105.0: lambda: world.send(HUP), 106.0: lambda: world.send(TERM)}
    assert supervise(world) == 0
    assert world.told[:2] == [(0, HUP), (1, HUP)]


def test_what_is_wrong_at_the_start_ends_all(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.never_ready = {0, 1}
    world.at = {101.0: lambda: world.die(0, 1 << 8)}
    assert supervise(world) == 1
    assert world.starts_of(0) == [0.0]
    assert "worker 0 could not start (code 1)" in caplog.text


def test_a_companion_that_cannot_start_ends_all(world: World) -> None:
    world.never_ready = {2}
    world.at = {101.0: lambda: world.die(2, 1 << 8)}
    assert supervise(world) == 1


def test_a_worker_that_fails_later_is_started_again(world: World) -> None:
    """The stores' password changed, say: one that serves shows that it was right once."""
    world.at = {101.0: lambda: world.die(0, 1 << 8), 110.0: lambda: world.send(TERM)}
    assert supervise(world) == 0
    assert len(world.starts_of(0)) == 2


@pytest.mark.parametrize("place", [0, 2])
def test_who_served_and_fails_before_the_first_look_is_started_again(
    world: World, place: int
) -> None:
    world.at = {100.5: lambda: world.die(place, 1 << 8), 110.0: lambda: world.send(TERM)}
    assert supervise(world) == 0
    assert len(world.starts_of(place)) == 2


@pytest.mark.parametrize(
    ("status", "code"), [(0, 0), (TERM, 0), (INT, 0), (1 << 8, 1), (signal.SIGSEGV, 1)]
)
def test_the_code_is_that_of_the_workers(world: World, status: int, code: int) -> None:
    world.obedient = False

    def end() -> None:
        world.die(0, status)
        world.die(1, 0)
        world.obedient = True

    world.at = {110.0: lambda: world.send(TERM), 115.0: end}
    assert supervise(world) == code


def test_a_signal_that_comes_twice_is_passed_on_twice(world: World) -> None:
    world.obedient = False

    def again() -> None:
        world.send(TERM)
        world.obedient = True

    world.at = {110.0: lambda: world.send(TERM), 111.0: again}
    assert supervise(world) == 128 + TERM
    assert [told for told in world.told if told[0] == 0] == [(0, INT), (0, INT)]


def test_who_does_not_end_is_killed_after_the_drain(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.obedient = False
    world.at = {110.0: lambda: world.send(TERM), 112.0: lambda: world.send(INT)}
    assert supervise(world) == 1
    assert world.told.count((-1, 0)) == 1
    assert world.now >= 110.0 + 20.0 + 5.0
    assert "worker 1 does not end: it is killed" in caplog.text
