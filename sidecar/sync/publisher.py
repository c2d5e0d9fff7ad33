"""Tells Redis what was committed: at once by whoever committed it, later by the relay."""

import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Final, Protocol

from redis.exceptions import RedisError

from sidecar.model.change import Change, Level, ShardState
from sidecar.model.errors import StoresUnavailable
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


class Publisher:
    """Sends changes to Redis in order, and first whatever Redis lacks before them.

    Args:
        cache: Redis; None where there is none, and nothing is ever published.
        outbox: where missing changes are read.
    """

    def __init__(self, cache: RedisCache | None, outbox: Outbox) -> None:
        self._cache = cache
        self._outbox = outbox
        self._epochs: dict[int, int] = {}

    async def publish(self, changes: Sequence[Change]) -> Level:
        """Publishes what was just committed.

        Never raises for a store that is away: the relay will send it. Then, and without Redis,
        the level is `Level.COMMITTED`.
        """
        if self._cache is None:
            return Level.COMMITTED
        try:
            for shard, group in groupby(changes, lambda change: change.shard):
                await self._send(self._cache, shard, tuple(group))
        except (RedisError, OSError, StoresUnavailable) as error:
            _log.warning("committed, but not published yet: %s", type(error).__name__)
            return Level.COMMITTED
        return Level.PUBLISHED

    async def catch_up(self) -> int:
        """Sends all that Redis lacks; returns for how many shards it lacked something.

        Raises:
            RedisError, StoresUnavailable: a store is away.
        """
        if self._cache is None:
            return 0
        # In this order: a head read first can only be behind the sequence read second, unless
        # PostgreSQL has lost what it had committed.
        heads = await self._cache.heads()
        lacking = 0
        for state in await self._outbox.states():
            head = heads[state.shard]
            current = head is not None and (
                (head.epoch, head.incarnation) == (state.epoch, state.incarnation)
            )
            if head is not None and current and head.seq == state.seq:
                continue
            lacking += 1
            if head is None or not current or head.seq > state.seq:
                await self._establish(self._cache, state, 0 if head is None else head.epoch)
            else:
                self._epochs[state.shard] = state.epoch
                missing = await self._outbox.after(state.shard, head.seq, _PAGE)
                await self._send(self._cache, state.shard, missing)
        return lacking

    async def _send(self, cache: RedisCache, shard: int, changes: Sequence[Change]) -> None:
        target = changes[-1].seq if changes else 0
        for _ in range(_ROUNDS):
            if not changes:
                # What comes next was deleted from the outbox long ago.
                await self._establish(cache, await self._outbox.state(shard), 0)
                return
            told = await cache.invalidate(shard, await self._epoch(shard), changes)
            if told.outcome is Outcome.DONE and told.seq >= target:
                return
            if told.outcome in {Outcome.DONE, Outcome.GAP}:
                changes = await self._outbox.after(shard, told.seq, _PAGE)
                if changes and changes[0].seq != told.seq + 1:
                    changes = ()
                continue
            state = await self._outbox.state(shard)
            self._epochs[shard] = state.epoch
            if told.outcome is Outcome.SUSPECT or told.epoch != state.epoch:
                await self._establish(cache, state, told.epoch)
                return
        raise StoresUnavailable("Redis keeps changing while it is being told")

    async def _establish(self, cache: RedisCache, state: ShardState, known_epoch: int) -> None:
        """Gives Redis's content of a shard a new life that holds everything up to now."""
        fresh = await self._outbox.renew(state.shard, max(state.epoch, known_epoch))
        self._epochs[state.shard] = fresh.epoch
        await cache.establish(fresh)

    async def _epoch(self, shard: int) -> int:
        if shard not in self._epochs:
            self._epochs[shard] = (await self._outbox.state(shard)).epoch
        return self._epochs[shard]
