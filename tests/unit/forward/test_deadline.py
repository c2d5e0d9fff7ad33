"""Deadlines of a loop that may be late itself."""

import asyncio
import time

import pytest
import uvloop

from sidecar.forward.deadline import Deadline


def connect_late(kind: str) -> str:
    """Connect within a deadline that passes while the loop stands still."""

    async def ours() -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        # Before the wait begins: what the loop will find is there when it looks again.
        loop.call_soon(time.sleep, 0.05)
        try:
            async with Deadline(0.01) if kind == "ours" else asyncio.timeout(0.01):
                transport, _ = await loop.create_connection(asyncio.Protocol, *address)
                transport.abort()
        except TimeoutError:
            return "too late"
        finally:
            server.close()
            await asyncio.sleep(0)
        return "in time"

    return uvloop.run(ours())


def test_what_was_there_is_seen_before_the_deadline_counts() -> None:
    assert connect_late("asyncio's") == "too late", "nothing is shown otherwise"
    assert connect_late("ours") == "in time"


async def test_what_does_not_come_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline(0.001):
            await asyncio.Event().wait()


async def test_nothing_is_left_of_one_that_was_kept() -> None:
    async with Deadline(0.0):
        pass
    for _ in range(20):
        await asyncio.sleep(0)
    deadline = Deadline(1000.0)
    async with deadline:
        await asyncio.sleep(0)
    assert deadline._timer is not None
    assert deadline._timer.cancelled()


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def wait() -> None:
        async with Deadline(1000.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
