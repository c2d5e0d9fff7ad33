"""A cancellation that a library swallowed is noticed at the next look."""

import asyncio

import pytest

from sidecar.sync.cancellation import heed_cancellation


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
