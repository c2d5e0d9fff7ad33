"""Remedies for cancellations that get lost, or take long."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

# A query that was cancelled waits up to ten seconds for its server's word; cancelled once more it
# gives its connection up. A server that is well answers within this.
_PATIENCE_SECONDS: Final = 0.25
_CANCELLATIONS: Final = 4


def heed_cancellation() -> None:
    """Raises `asyncio.CancelledError` if this task was cancelled and did not notice.

    `asyncio.wait_for` before Python 3.12 loses a cancellation that arrives as the awaited thing
    ends (python/cpython issue 86296), and psycopg and redis-py use it. A loop that runs for ever
    asks here once a round, or it would run for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait for them, within a second; what they end with is of no interest."""
    waiting = set(tasks)
    for _ in range(_CANCELLATIONS):
        if not waiting:
            return
        for task in waiting:
            task.cancel()
        ended, waiting = await asyncio.wait(waiting, timeout=_PATIENCE_SECONDS)
        for task in ended:
            if not task.cancelled():
                # Looked at, or it is told of when the task is collected.
                task.exception()
