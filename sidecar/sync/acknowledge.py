"""Waits until a change is `applied`: no sidecar authorizes what it took away any more (R2)."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from redis.exceptions import RedisError

from sidecar.cache.acknowledgement import Bounds, Confirmation, Standing, standing
from sidecar.cache.following import Beat
from sidecar.model.change import Change, Level, ShardState
from sidecar.model.errors import StoresUnavailable
from sidecar.model.shard import SHARDS
from sidecar.sync.keyspace import Head

# Sidecars confirm within milliseconds: they beat as soon as they have applied something.
_LOOK_SECONDS: Final = 0.01
_LOOK_LONGEST_SECONDS: Final = 0.25


class Confirmations(Protocol):
    """Redis (`RedisCache`); raises `RedisError`."""

    async def members(self, shard: int, /) -> tuple[Head | None, float, list[Confirmation]]:
        """The head of the shard, the age of its epoch there, the sidecars' last heartbeats."""
        ...

    async def may_lose_writes(self, shards: Iterable[int], /) -> bool:
        """Whether a failover could lose what was acknowledged of these shards."""
        ...


class Epochs(Protocol):
    """PostgreSQL (`store.outbox.Outbox`); raises `StoresUnavailable`."""

    async def epoch_age(self, shard: int, epoch: int, /) -> float:
        """Seconds since PostgreSQL chose the epoch."""
        ...

    async def state(self, shard: int, /) -> ShardState:
        """The shard as it is now."""
        ...


class Acknowledgement(NamedTuple):
    """How far a change has come, and who said so.

    Attributes:
        level: what is certain.
        seconds: how long it took.
        confirmed: sidecars that have applied it.
        waiting_for: sidecars that may not have.
        why: why it is not `applied`; empty when it is.
    """

    level: Level
    seconds: float
    confirmed: tuple[str, ...] = ()
    waiting_for: tuple[str, ...] = ()
    why: str = ""


class Acknowledger:
    """Waits for confirmations.

    Args:
        redis: where heartbeats are kept.
        epochs: knows how old epochs are.
        bounds: L and D.
    """

    def __init__(self, redis: Confirmations, epochs: Epochs, bounds: Bounds) -> None:
        self._redis = redis
        self._epochs = epochs
        self._bounds = bounds

    async def wait(self, changes: Sequence[Change], seconds: float) -> Acknowledgement:
        """Wait until all of `changes`, already published, are applied; at most `seconds`."""
        begun = time.monotonic()
        last = {change.shard: change.seq for change in changes}
        try:
            # Without Redis nothing is applied, no changes at all included.
            if await self._redis.may_lose_writes(last or range(SHARDS)):
                why = "Redis replicates without min-replicas-to-write: a failover may lose it again"
                return Acknowledgement(Level.PUBLISHED, time.monotonic() - begun, why=why)
        except (RedisError, OSError):
            return Acknowledgement(Level.COMMITTED, 0.0, why="Redis cannot be asked")
        found = [await self._wait_for(shard, seq, begun + seconds) for shard, seq in last.items()]
        open_ = [each.why for each in found if not each.applied]
        return Acknowledgement(
            Level.PUBLISHED if open_ else Level.APPLIED,
            time.monotonic() - begun,
            tuple(sorted({member for each in found for member in each.confirmed})),
            tuple(sorted({member for each in found for member in each.waiting_for})),
            open_[0] if open_ else "",
        )

    async def is_published(self, changes: Sequence[Change]) -> bool:
        """Whether Redis knows all of `changes`, in the present life of its content."""
        try:
            for change in changes:
                head, _, _ = await self._redis.members(change.shard)
                state = await self._epochs.state(change.shard)
                if head is None or head.seq < change.seq:
                    return False
                if (head.epoch, head.incarnation) != (state.epoch, state.incarnation):
                    return False
        except (RedisError, OSError, StoresUnavailable):
            return False
        return True

    async def _wait_for(self, shard: int, seq: int, deadline: float) -> Standing:
        seen: tuple[int, float] | None = None
        pause = _LOOK_SECONDS
        while True:
            try:
                head, epoch_age, members = await self._redis.members(shard)
                now = time.monotonic()
                if head is not None:
                    state = await self._epochs.state(shard)
                    if head.incarnation != state.incarnation:
                        # Of a life of PostgreSQL's data that was ended by a restore (R12).
                        head = None
                if head is None or head.seq < seq:
                    seen = None
                elif seen is None or seen[0] != head.epoch:
                    # In another epoch the wait begins anew.
                    seen = (head.epoch, now)
                # Chosen by PostgreSQL, but Redis may have been told of it much later.
                chosen = 0.0 if head is None else await self._epochs.epoch_age(shard, head.epoch)
                found = standing(
                    seq,
                    None if head is None else Beat(head.seq, head.epoch, head.incarnation),
                    members,
                    published_for=-1.0 if seen is None else now - seen[1],
                    epoch_age=min(chosen, epoch_age),
                    bounds=self._bounds,
                )
            except (RedisError, OSError, StoresUnavailable) as error:
                seen = None
                found = Standing(False, (), (), f"a store is away ({type(error).__name__})")
            if found.applied or time.monotonic() + pause > deadline:
                return found
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LOOK_LONGEST_SECONDS)
