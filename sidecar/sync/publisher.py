"""Tells Redis what was committed: at once by whoever committed it, later by the relay."""

import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Final, Protocol

from redis.exceptions import RedisError

from sidecar.model.change import Change, Level, ShardState
from sidecar.model.errors import StoresUnavailable
from sidecar.model.shard import SHARDS
from sidecar.sync.keyspace import Head
from sidecar.sync.redis_answers import Told
from sidecar.sync.redis_cache import Outcome, RedisCache

_log: Final = logging.getLogger(__name__)
# Epoch outdated, shard unknown, gap filled, more changes than one page: each costs a round.
_ROUNDS: Final = 8
_PAGE: Final = 500


class Outbox(Protocol):
    """What PostgreSQL knows (`store.outbox.Outbox`). All raise `StoresUnavailable`."""

    async def states(self) -> list[ShardState]:
        """All shards."""
        ...

    async def state(self, shard: int) -> ShardState:
        """One shard."""
        ...

    async def after(self, shard: int, seq: int, limit: int = ...) -> tuple[Change, ...]:
        """Changes that come after `seq`."""
        ...

    async def renew(self, shard: int, epoch: int) -> ShardState:
        """Begins an epoch later than `epoch`."""
        ...

    async def begin_life(self, incarnation: str) -> None:
        """Ends the life `incarnation` of PostgreSQL's data, unless that is done."""
        ...


class Publisher:
    """Sends changes to Redis in order, and first whatever Redis lacks before them.

    Args:
        cache: Redis; None where there is none, and nothing is ever published.
        outbox: where missing changes are read.

    Attributes:
        away: the shards that could not be told of at the last `catch_up`.
    """

    def __init__(self, cache: RedisCache | None, outbox: Outbox) -> None:
        self._cache = cache
        self._outbox = outbox
        self.away: frozenset[int] = frozenset()

    async def publish(self, changes: Sequence[Change]) -> Level:
        """Publishes what was just committed.

        Never raises for a store that is away: the relay will send it. Then, and without Redis,
        the level is `Level.COMMITTED`; also where the content of Redis had to begin a new life,
        because it might have done so on a master that was replaced.
        """
        if self._cache is None:
            return Level.COMMITTED
        told = True
        for shard, group in groupby(changes, lambda change: change.shard):
            # A server that is away costs the news of its own shards only.
            try:
                told &= await self._send(self._cache, shard, tuple(group))
            except (RedisError, OSError, StoresUnavailable) as error:
                _log.warning("committed, but not published yet: %s", type(error).__name__)
                told = False
        return Level.PUBLISHED if told else Level.COMMITTED

    async def catch_up(self) -> int:
        """Sends all that Redis lacks, a page for each shard.

        Returns:
            For how many shards it lacked something and was told. Those whose server is away are
            left out; `away` says which.

        Raises:
            RedisError, OSError: no server could be told.
            StoresUnavailable: PostgreSQL is away.
        """
        if self._cache is None:
            return 0
        # In this order: a head read first can only be behind the sequence read second, unless
        # PostgreSQL has lost what it had committed.
        heads = await self._cache.heads()
        away = {shard for shard in range(SHARDS) if shard not in heads}
        lacking = 0
        failure: Exception | None = None
        for state in await self._outbox.states():
            if state.shard in away:
                continue
            try:
                lacking += await self._catch_up(self._cache, state, heads[state.shard])
            except (RedisError, OSError) as error:
                away.add(state.shard)
                failure = error
        self.away = frozenset(away)
        if failure is not None and len(away) == SHARDS:
            raise failure
        return lacking

    async def _catch_up(self, cache: RedisCache, state: ShardState, head: Head | None) -> bool:
        """Sends a page of what Redis lacks of one shard; False when it lacks nothing."""
        current = head is not None and (
            (head.epoch, head.incarnation) == (state.epoch, state.incarnation)
        )
        if head is not None and current and head.seq == state.seq:
            return False
        if head is not None and _fell_back(state, head.seq, head.epoch, head.incarnation):
            await self._begin_life(state)
        if head is None or not current or head.seq > state.seq:
            await self._establish(cache, state.shard, 0 if head is None else head.epoch)
        else:
            missing = await self._outbox.after(state.shard, head.seq, _PAGE)
            await self._send(cache, state.shard, missing)
        return True

    async def _send(self, cache: RedisCache, shard: int, changes: Sequence[Change]) -> bool:
        """Sends until Redis has all; False when its content had to begin a new life instead."""
        target = changes[-1].seq if changes else 0
        # After the commit, so that the epoch is at least the one the transaction saw (R1).
        state = await self._outbox.state(shard)
        for _ in range(_ROUNDS):
            if not changes:
                # What comes next was deleted from the outbox long ago.
                await self._establish(cache, shard, 0)
                return False
            told = await cache.invalidate(state, changes)
            if told.outcome is Outcome.DONE and told.seq >= target:
                return told.seq == target or await self._is_known(cache, shard, told)
            if told.outcome in {Outcome.DONE, Outcome.GAP}:
                changes = await self._outbox.after(shard, told.seq, _PAGE)
                if changes and changes[0].seq != told.seq + 1:
                    changes = ()
                continue
            state = await self._outbox.state(shard)
            if told.outcome is Outcome.SUSPECT or told.epoch != state.epoch:
                await self._establish(cache, shard, told.epoch)
                return False
        raise RedisError("Redis keeps changing while it is being told")

    async def _is_known(self, cache: RedisCache, shard: int, told: Told) -> bool:
        """Whether PostgreSQL has all that Redis has: what others have committed since.

        Else Redis took what it was told for something it knew from before a restore.
        """
        state = await self._outbox.state(shard)
        if state.seq >= told.seq:
            return True
        await self._begin_life(state)
        await self._establish(cache, shard, told.epoch)
        return False

    async def _begin_life(self, state: ShardState) -> None:
        """PostgreSQL has lost what it had committed: sequences will be given a second time (R12).

        It was restored from a backup that says nothing of it. Under another incarnation sidecars
        forget all, and nothing of before is taken for something of after.
        """
        _log.warning("PostgreSQL was restored: its data begin a new life")
        await self._outbox.begin_life(state.incarnation)

    async def _establish(self, cache: RedisCache, shard: int, known_epoch: int) -> None:
        """Gives Redis's content of a shard a new life that holds everything up to now.

        The life is looked at first: if it changes before the new one is told, a later relay was
        here, and this one is refused.
        """
        seen = await cache.life(shard)
        state = await self._outbox.state(shard)
        # Later than any that this content was given: PostgreSQL may have lost the last ones, and
        # would give one of them twice.
        known = max(state.epoch, known_epoch, int(seen.epoch or 0))
        fresh = await self._outbox.renew(shard, known)
        await cache.establish(fresh, seen)


def _fell_back(state: ShardState, seq: int, epoch: int, incarnation: str) -> bool:
    """Whether PostgreSQL, asked later, has less than Redis, in what should be the same life."""
    return incarnation == state.incarnation and (seq > state.seq or epoch > state.epoch)
