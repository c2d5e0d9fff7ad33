"""A remedy for cancellations that get lost."""

import asyncio


def heed_cancellation() -> None:
    """Raises `asyncio.CancelledError` if this task was cancelled and did not notice.

    `asyncio.wait_for` before Python 3.12 loses a cancellation that arrives as the awaited thing
    ends (python/cpython issue 86296), and psycopg and redis-py use it. A loop that runs for ever
    asks here once a round, or it would run for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
