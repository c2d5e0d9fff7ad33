"""Who was refused at the door of the admin API: told at once, and then now and then with a number.

A guesser fills neither the log nor the audit: of one address something is told once in a while.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

_EVERY_SECONDS: Final = 10.0
# Of more at a time the addresses are not kept apart.
_MOST_ADDRESSES: Final = 256
_OTHERS: Final = "others"


class Later(Protocol):
    """`loop.call_later`."""

    def __call__(self, delay: float, callback: Callable[[str], None], argument: str, /) -> object:
        """Call `callback` with `argument` after `delay` seconds."""
        ...


class Refused(NamedTuple):
    """Calls of one address that were refused.

    Attributes:
        client: the address; ``others`` where too many came at the same time.
        calls: how many since this was last told.
        request_id: of the last one.
        status: of the answer to the last one.
        code: of its error.
        milliseconds: how long it took.
        asked: its method and path.
    """

    client: str
    calls: int
    request_id: str
    status: int
    code: str
    milliseconds: float
    asked: str


class Refusals:
    """Counts by address.

    Args:
        tell: called with what is to be written down.
        later: calls something after a while; the loop's where none is given.
    """

    def __init__(self, tell: Callable[[Refused], None], later: Later | None = None) -> None:
        self._tell = tell
        self._later = later
        # By address; a value with no calls says that something was told a moment ago.
        self._counted: dict[str, Refused] = {}

    def add(self, refused: Refused) -> None:
        """One more. The first of an address is told now, the next ones together."""
        client = refused.client
        if client not in self._counted and len(self._counted) >= _MOST_ADDRESSES:
            client = _OTHERS
        before = self._counted.get(client)
        refused = refused._replace(client=client)
        if before is not None:
            self._counted[client] = refused._replace(calls=before.calls + refused.calls)
            return
        self._tell_now(refused)

    def _tell_now(self, refused: Refused) -> None:
        self._counted[refused.client] = refused._replace(calls=0)
        later = self._later or asyncio.get_running_loop().call_later
        later(_EVERY_SECONDS, self._look_again, refused.client)
        self._tell(refused)

    def _look_again(self, client: str) -> None:
        counted = self._counted.pop(client)
        if counted.calls:
            self._tell_now(counted)
