"""A deadline that does not blame others for a loop that was late itself.

A loop that gets no CPU for a second finds the connection that was made long ago and the deadline
for it both due in its next turn, and looks at timers first (libuv does; and a connection takes
several turns to be handed over). So what is here by then is seen before the deadline counts.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

# More than a connection with TLS takes from the last octet that arrived. They cost microseconds
# each: while they pass the loop waits for nothing.
_TURNS: Final = 10


class Deadline:
    """Bounds what is awaited in it, as `asyncio.timeout` does; raises TimeoutError at its end.

    Args:
        seconds: from now on; then some turns of the loop, whatever time these take.
    """

    __slots__ = ("_seconds", "_timeout", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        """Start it."""
        await self._timeout.__aenter__()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._pass, _TURNS)
        return self

    def _pass(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            self._timer = loop.call_soon(self._pass, turns - 1)
        else:
            self._timeout.reschedule(loop.time())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)
