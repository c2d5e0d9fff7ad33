"""Announces what was committed, as far as somebody wants it known; for the CLI and the admin API.

What is said is what is certain, never what was asked for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from sidecar.model.change import Change, ChangeKind, Level
from sidecar.model.errors import StoresUnavailable
from sidecar.model.shard import shard_of
from sidecar.sync.acknowledge import Acknowledgement, Acknowledger, Epochs

# Tells all sidecars (`sync.publisher.Publisher.publish`); never raises.
Publish = Callable[[Sequence[Change]], Awaitable[Level]]

# How often to look whether Redis has been told by somebody else meanwhile.
_LOOK_SECONDS: Final = 0.05
_LOOK_LONGEST_SECONDS: Final = 0.5


class Wanted(NamedTuple):
    """How far a change has to come before somebody is answered (SYNC.md, acknowledgement levels).

    Attributes:
        level: the level.
        seconds: how long to wait for `Level.APPLIED`.
    """

    level: Level = Level.PUBLISHED
    seconds: float = 10.0


class Announcer:
    """Publishes changes and waits for what is wanted.

    Args:
        publish: tells all sidecars.
        epochs: PostgreSQL (`store.outbox.Outbox`).
        acknowledger: knows who has applied what; None without Redis.
    """

    def __init__(self, publish: Publish, epochs: Epochs, acknowledger: Acknowledger | None) -> None:
        self._publish = publish
        self._epochs = epochs
        self._acknowledger = acknowledger

    async def announce(
        self, tenant: str, changes: Sequence[Change], wanted: Wanted
    ) -> Acknowledgement:
        """Announce `changes` of `tenant`, just committed, and wait as far as is wanted.

        Nothing to announce is an answer of its own: what is so already may have been changed a
        moment ago, by a call whose answer was lost. So the level is that of the tenant's last
        change.
        """
        begun = time.monotonic()
        if wanted.level is Level.COMMITTED:
            return Acknowledgement(Level.COMMITTED, 0.0)
        if self._acknowledger is None:
            # Memory of this process, where it is a sidecar's, follows at once all the same.
            await self._publish(changes)
            why = "there is no Redis: sidecars notice at their next look into PostgreSQL"
            return Acknowledgement(Level.COMMITTED, time.monotonic() - begun, why=why)
        if changes:
            level = await self._publish(changes)
        else:
            changes, level = await self._last(self._acknowledger, tenant)
        if level is Level.COMMITTED and wanted.level is Level.APPLIED:
            deadline = begun + wanted.seconds
            changes, level = await self._published(self._acknowledger, tenant, changes, deadline)
        seconds = time.monotonic() - begun
        if level is Level.COMMITTED:
            return Acknowledgement(level, seconds, why="Redis could not be told yet")
        if wanted.level is Level.PUBLISHED:
            return Acknowledgement(level, seconds)
        found = await self._acknowledger.wait(changes, max(0.0, wanted.seconds - seconds))
        return found._replace(seconds=time.monotonic() - begun)

    async def _published(
        self, acknowledger: Acknowledger, tenant: str, changes: Sequence[Change], deadline: float
    ) -> tuple[Sequence[Change], Level]:
        """Waits until the relay has told Redis, which a new life of its content takes; or not."""
        level, pause = Level.COMMITTED, _LOOK_SECONDS
        while level is Level.COMMITTED and time.monotonic() + pause < deadline:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LOOK_LONGEST_SECONDS)
            if not changes:
                changes, level = await self._last(acknowledger, tenant)
            elif await acknowledger.is_published(changes):
                level = Level.PUBLISHED
        return changes, level

    async def _last(
        self, acknowledger: Acknowledger, tenant: str
    ) -> tuple[Sequence[Change], Level]:
        """What stands for the last change of the tenant's shard, and whether Redis knows it."""
        try:
            state = await self._epochs.state(shard_of(tenant))
        except StoresUnavailable:
            return (), Level.COMMITTED
        # Only its sequence counts: it is waited for, never published.
        last = (Change(state.shard, state.seq, ChangeKind.TENANT, tenant),)
        told = await acknowledger.is_published(last)
        return last, Level.PUBLISHED if told else Level.COMMITTED
