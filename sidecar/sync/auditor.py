"""It watches itself: compares what memory holds with PostgreSQL, a few entries at a time.

A fact that differs from the truth for longer than a lease would be a fault of the protocol, or a
change that bypassed the triggers. It is counted, told, and forgotten.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from sidecar.cache.memory import Memory
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import Fact
from sidecar.model.need import Absent, RolesNeed, StoreNeed, UserNeed, shard_of_need
from sidecar.sync.keyspace import StoreFact

_log: Final = logging.getLogger(__name__)
_PAUSE_SECONDS: Final = 5.0
# Of each region. A read each second or so is nothing to a database.
_SAMPLE: Final = 3


class Truth(Protocol):
    """PostgreSQL (`store.facts.FactStore`)."""

    async def read(self, need: StoreNeed, /) -> StoreFact | Absent:
        """The fact or `ABSENT`; raises `StoresUnavailable`."""
        ...


class Auditor:
    """Runs until it is cancelled.

    Args:
        memory: what is looked at.
        primary: the truth.
        lease_seconds: how long a difference may last.
        instant: the clock of leases.
        chance: random numbers in [0, 1).

    Attributes:
        checked: facts compared.
        stale: facts that were older than they may be.
    """

    def __init__(
        self,
        memory: Memory,
        primary: Truth,
        lease_seconds: float,
        *,
        instant: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._primary = primary
        self._lease_seconds = lease_seconds
        self._instant = instant
        self._chance = chance
        self.checked = 0
        self.stale = 0

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS * (0.5 + self._chance()))
            try:
                await self.audit()
            except StoresUnavailable:
                continue  # others say so

    async def audit(self) -> None:
        """Compares one sample.

        Raises:
            StoresUnavailable: PostgreSQL could not be asked.
        """
        doubtful = []
        for need, fact in self._memory.sample(_SAMPLE, self._chance()):
            truth = await self._primary.read(need)
            self.checked += 1
            # By version: grants that have expired are in memory a little longer, and checked there.
            if isinstance(truth, Absent) or truth.version != fact.version:
                doubtful.append((need, fact))
        if not doubtful:
            return
        # The news may be on its way. After a lease it has come, or memory is not used.
        await asyncio.sleep(self._lease_seconds)
        for need, fact in doubtful:
            if self._is_still_used(need, fact):
                self.stale += 1
                self._memory.drop(need)
                _log.error("a fact in memory was older than a lease allows: %s", need)

    def _is_still_used(self, need: UserNeed | RolesNeed, fact: Fact) -> bool:
        leased = self._memory.is_leased(shard_of_need(need), self._instant())
        return leased and self._memory.holds(need, fact)
