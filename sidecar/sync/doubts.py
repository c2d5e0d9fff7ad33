"""Whether PostgreSQL still has what was followed; asked when Redis seems to have less (R12).

A master that was replaced answers with an earlier epoch or a lower head, and so does one that was
told anew after PostgreSQL had been restored from a backup. Only PostgreSQL knows which it is: it
never has less than anybody heard of, unless its data are those of an earlier time. Without the
question a restored fleet would wait for epochs that are never reached.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from sidecar.model.change import ShardState
from sidecar.model.errors import StoresUnavailable
from sidecar.sync.follower import Follower

_log: Final = logging.getLogger(__name__)


class States(Protocol):
    """PostgreSQL (`store.outbox.Outbox`); raises `StoresUnavailable`."""

    async def states(self) -> list[ShardState]:
        """All shards as they are now."""
        ...


class Doubts:
    """Asks, in a task, one question at a time.

    Args:
        follower: what is doubted.
        states: PostgreSQL.
        pause_seconds: between two questions, at least.
        instant: the clock of leases.
        settled: called with each shard that begins anew.
    """

    def __init__(
        self,
        follower: Follower,
        states: States,
        pause_seconds: float,
        *,
        instant: Callable[[], float],
        settled: Callable[[int], None],
    ) -> None:
        self._follower = follower
        self._states = states
        self._pause = pause_seconds
        self._instant = instant
        self._settled = settled
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self, shards: Iterable[int]) -> None:
        """Ask about `shards`, unless it is being asked or was a moment ago."""
        doubted = list(shards)
        is_asking = self._task is not None and not self._task.done()
        if not doubted or is_asking or self._instant() < self._due:
            return
        self._due = self._instant() + self._pause
        self._task = asyncio.create_task(self._ask(doubted), name="doubts")

    async def stop(self) -> None:
        """Break off what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, shards: list[int]) -> None:
        # Before asking: what is heard meanwhile may be newer than the answer.
        claims = self._follower.claims(shards)
        try:
            states = await self._states.states()
        except StoresUnavailable:
            return  # asked again with the next doubt
        fallen = self._follower.compare(claims, states)
        if fallen:
            _log.warning("PostgreSQL was restored: all that was known is forgotten")
        for shard in fallen:
            self._settled(shard)
