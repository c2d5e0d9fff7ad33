"""Cancellations that a library swallowed or that take long: what is done about them."""

import asyncio

import pytest

from sidecar.sync.cancellation import end_tasks, heed_cancellation


async def test_a_lost_cancellation_is_found() -> None:
    reached = asyncio.Event()
    rounds = 0

    async def stubborn() -> None:
        nonlocal rounds
        while True:
            heed_cancellation()
            rounds += 1
            reached.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rounds == 1


class Stubborn:
    """Work that has to be cancelled several times."""

    def __init__(self, times: int, failure: Exception | None = None) -> None:
        self.begun = asyncio.Event()
        self._times = times
        self._failure = failure

    async def work(self) -> None:
        for _ in range(self._times):
            try:
                self.begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        if self._failure is not None:
            raise self._failure


async def _begun(*works: Stubborn) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(each.work()) for each in works]
    for each in works:
        await each.begun.wait()
    return tasks


async def test_all_are_ended_also_those_that_must_be_cancelled_again() -> None:
    tasks = await _begun(Stubborn(1), Stubborn(2), Stubborn(3, ValueError("of no interest")))
    await end_tasks(tasks)
    unended = [task for task in tasks if not task.done()]
    # A failing test must not leave what its loop would wait for.
    while any(not task.done() for task in tasks):
        await end_tasks(tasks)
    assert not unended


async def test_who_never_ends_is_not_waited_for() -> None:
    [task] = tasks = await _begun(Stubborn(5))
    await end_tasks(tasks)
    assert not task.done()
    task.cancel()
    await asyncio.wait(tasks)


async def test_no_tasks_are_no_wait() -> None:
    await end_tasks([])
