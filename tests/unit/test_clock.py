import asyncio

import pytest

from sidecar.clock import NEVER, Sweeper, instant, wall


class Thing:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = asyncio.Event()

    def expire(self) -> None:
        self.deadline = NEVER
        self.expired.set()


def test_the_clocks_run_forward() -> None:
    assert instant() <= instant()
    assert wall() > 1.7e9


async def test_deadlines_fire_once_and_only_when_due() -> None:
    sweeper = Sweeper(0.01)
    now = asyncio.get_running_loop().time()
    due, later, forgotten = Thing(now), Thing(now + 3600), Thing(now)
    for thing in (due, later, forgotten):
        sweeper.watch(thing)
    sweeper.forget(forgotten)
    sweeper.start()
    async with asyncio.timeout(5):
        await due.expired.wait()
    assert due.deadline == NEVER
    assert not later.expired.is_set()
    assert not forgotten.expired.is_set()
    sweeper.stop()


async def test_a_stopped_sweeper_fires_nothing() -> None:
    sweeper = Sweeper(0.0)
    thing = Thing(0.0)
    sweeper.watch(thing)
    sweeper.start()
    sweeper.stop()
    sweeper.stop()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not thing.expired.is_set()


async def test_one_that_fails_or_ends_another_does_not_stop_the_sweep(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sweeper = Sweeper(0.01)
    ended, last = Thing(0.0), Thing(0.0)

    class Broken(Thing):
        def expire(self) -> None:
            super().expire()
            sweeper.forget(ended)
            last.deadline = 0.0
            raise ZeroDivisionError

    broken = Broken(0.0)
    for thing in (broken, ended, last):
        sweeper.watch(thing)
    sweeper.start()
    async with asyncio.timeout(5):
        await broken.expired.wait()
        await last.expired.wait()
    sweeper.stop()
    assert "ZeroDivisionError" in caplog.text
