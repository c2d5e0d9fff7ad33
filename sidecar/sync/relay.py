"""Sends what nobody else sent: changes by plain SQL, and those of whoever crashed in between.

Any sidecar may do it; one at a time does, the one that holds a lock in PostgreSQL.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from redis.exceptions import RedisError

from sidecar.model.errors import StoresUnavailable
from sidecar.model.shard import SHARDS
from sidecar.sync.cancellation import heed_cancellation
from sidecar.sync.publisher import Publisher

_log: Final = logging.getLogger(__name__)
# A notification may be lost with its listener, and Redis may forget: look each second anyway.
SWEEP_SECONDS: Final = 1.0
# How often the others ask whether the role is free.
CANDIDATE_SECONDS: Final = 2.0
# Old rows cost space only.
_PRUNE_EVERY_SWEEPS: Final = 60
_PAGES: Final = 100


class Lead(Protocol):
    """The role, once it is ours."""

    async def wait(self, seconds: float) -> None:
        """Until something was committed, or `seconds` have passed."""
        ...

    async def keep(self) -> None:
        """Shows that we are alive. Raises `StoresUnavailable` when the role is lost."""
        ...


class Leadership(Protocol):
    """Where the role is had (`store.outbox.Outbox`). Both raise `StoresUnavailable`."""

    def lead(self) -> AbstractAsyncContextManager[Lead | None]:
        """The role, or None while another has it."""
        ...

    async def prune(self) -> None:
        """Deletes what is no longer needed."""
        ...


class Relay:
    """Runs until it is cancelled.

    Args:
        publisher: sends what is missing.
        leadership: decides who does.
        jitter: random numbers in [0, 1), so that a fleet does not ask in step.

    Attributes:
        leading: set while this sidecar has the role.
    """

    def __init__(
        self, publisher: Publisher, leadership: Leadership, *, jitter: Callable[[], float]
    ) -> None:
        self._publisher = publisher
        self._leadership = leadership
        self._jitter = jitter
        self._failing = False
        self.leading = asyncio.Event()

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                async with self._leadership.lead() as lead:
                    if lead is not None:
                        self.leading.set()
                        await self._relay(lead)
            except StoresUnavailable as error:
                self._tell(str(error))
            finally:
                self.leading.clear()
            heed_cancellation()
            await asyncio.sleep(CANDIDATE_SECONDS * (0.5 + self._jitter()))

    async def _relay(self, lead: Lead) -> None:
        sweeps = 0
        while True:
            try:
                await self._catch_up(lead)
                away = len(self._publisher.away)
                self._tell(f"{away} of {SHARDS} shards cannot be told" if away else "")
            except (RedisError, OSError) as error:
                self._tell(str(error) or type(error).__name__)
            if sweeps % _PRUNE_EVERY_SWEEPS == 0:
                await self._leadership.prune()
            sweeps += 1
            await lead.wait(SWEEP_SECONDS)
            heed_cancellation()

    async def _catch_up(self, lead: Lead) -> None:
        """A page at a time, as long as something is missing; after each, if the role is ours."""
        for _ in range(_PAGES):
            if not await self._publisher.catch_up():
                return
            await lead.keep()

    def _tell(self, why: str) -> None:
        """Once for each outage; its end for an empty text."""
        if why and not self._failing:
            _log.warning("the relay of changes is interrupted: %s", why)
        self._failing = bool(why)
