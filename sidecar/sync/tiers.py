"""Loads what a decision lacks: memory, then Redis, then PostgreSQL, all within one bound."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from redis.exceptions import RedisError

from sidecar.cache.flights import Flight, Flights
from sidecar.cache.memory import Memory
from sidecar.model.decision import Denial
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import VerifiedToken
from sidecar.model.need import (
    Absent,
    Found,
    Need,
    SessionNeed,
    StoreNeed,
    TokenNeed,
    shard_of_need,
)
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Features
from sidecar.sync.keyspace import Head, StoreFact
from sidecar.sync.redis_cache import Look, RedisCache


class Tier(StrEnum):
    """Where an answer came from."""

    MEMORY = "memory"
    REDIS = "redis"
    POSTGRES = "postgres"
    VERIFIER = "verifier"


class Loaded(NamedTuple):
    """An answer and where it came from."""

    fact: Found | Denial
    tier: Tier


class Primary(Protocol):
    """The truth (`store.facts.FactStore`)."""

    async def read(self, need: StoreNeed) -> StoreFact | Absent:
        """The fact or `ABSENT`; raises `StoresUnavailable`."""
        ...


# Refreshing goes along quietly: at most 160 reads a second.
_FRESH_SECONDS: Final = 0.1
_FRESH_AT_ONCE: Final = 16

Verifier = Callable[[TokenNeed], Awaitable[VerifiedToken | Denial]]
_Waiter = asyncio.Future[Loaded]


class Tiers:
    """Answers needs. Reads run in tasks of their own: who gives up waiting cancels nobody else.

    Args:
        memory: the first level; its leases also say whether Redis is trusted (R8).
        primary: PostgreSQL.
        redis: the second level, if there is one.
        verify: resolves tokens.
        features: which levels and optimisations are on.
        load_seconds: bound on one load.
        instant: the clock of leases.

    Attributes:
        counts: answers by tier, and reads that were ``doomed`` or ``failed``, since the start.
    """

    def __init__(
        self,
        memory: Memory,
        primary: Primary,
        *,
        redis: RedisCache | None,
        verify: Verifier,
        features: Features,
        load_seconds: float,
        instant: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._primary = primary
        self._redis = redis if features.redis_cache else None
        self._verify = verify
        self._share = features.single_flight
        self._load_seconds = load_seconds
        # Half, so that a Redis that hangs leaves the other half to PostgreSQL.
        self._redis_seconds = load_seconds / 2
        self._instant = instant
        self._flights: Flights[_Waiter] = Flights()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reached = [0] * SHARDS
        self.counts: Counter[str] = Counter()

    async def load(self, need: Need, now: float) -> Loaded:
        """The fact for `need` at the monotonic instant `now`.

        Raises:
            StoresUnavailable: no store answered within the bound.
        """
        found = self._memory.find(need, now)
        if found is not None:
            return self._count(Loaded(found, Tier.MEMORY))
        if isinstance(need, TokenNeed):
            return self._count(await self._load_token(need))
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        if self._share:
            flight = self._flights.board(need, waiter, leased=self._is_leased(need))
        else:
            flight = self._flights.alone(need, waiter)
        if flight is not None:
            self._start(flight)
        try:
            async with asyncio.timeout(self._load_seconds):
                return self._count(await waiter)
        except TimeoutError:
            raise StoresUnavailable("the stores did not answer in time") from None

    async def keep_fresh(self) -> None:
        """Reads anew what is in use and will soon expire; never returns."""
        while True:
            await asyncio.sleep(_FRESH_SECONDS)
            for need in self._memory.take_due(_FRESH_AT_ONCE):
                self.refresh(need)

    def refresh(self, need: Need) -> None:
        """Read `need` anew, for nobody who waits; a failure leaves it to expire."""
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        # Nobody awaits it, so somebody has to look at its failure.
        waiter.add_done_callback(lambda future: future.cancelled() or future.exception())
        self.counts["refreshed"] += 1
        self._start(self._flights.alone(need, waiter))

    def doom(self, need: Need) -> None:
        """What is being read for `need` may be old already."""
        self._start_all(self._flights.doom(need))

    def doom_tenant(self, tenant: str) -> None:
        """The same for a tenant; sessions being read may be of any."""
        self._start_all(
            self._flights.doom_where(
                lambda need: (
                    isinstance(need, SessionNeed)
                    or (not isinstance(need, TokenNeed) and need.tenant == tenant)
                )
            )
        )

    def doom_all(self) -> None:
        """The same for everything."""
        self._start_all(self._flights.doom_where(lambda _: True))

    def reached(self, shard: int, seq: int) -> None:
        """Changes of `shard` up to `seq` are applied: what Redis knew before them is too old."""
        self._reached[shard] = seq

    async def close(self) -> None:
        """Ends the reads in the air; whoever waits gets `StoresUnavailable`."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_leased(self, need: StoreNeed) -> bool:
        return self._memory.is_leased(shard_of_need(need), self._instant())

    def _count(self, loaded: Loaded) -> Loaded:
        self.counts[loaded.tier] += 1
        return loaded

    async def _load_token(self, need: TokenNeed) -> Loaded:
        # Nothing awaits between the verdict and the put, so no removed key can slip in between.
        found = await self._verify(need)
        self._memory.put(need, found, self._instant())
        return Loaded(found, Tier.VERIFIER)

    def _start_all(self, flights: list[Flight[_Waiter]]) -> None:
        for flight in flights:
            self._start(flight)

    def _start(self, flight: Flight[_Waiter]) -> None:
        task = asyncio.create_task(self._fly(flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, flight: Flight[_Waiter]) -> None:
        # A timer rather than `asyncio.timeout`: cancelling a query waits for the server's word,
        # up to seconds when it is gone, and nobody may wait for that.
        expiry = asyncio.get_running_loop().call_later(
            self._load_seconds, self._expire, flight, asyncio.current_task()
        )
        failure: BaseException = StoresUnavailable("the read was given up")
        loaded: Loaded | None = None
        head: Head | None = None
        try:
            loaded, head = await self._read(flight.need)
        except (StoresUnavailable, asyncio.CancelledError) as error:
            if isinstance(error, StoresUnavailable):
                failure = error
        except Exception as error:  # noqa: BLE001  a bug: it belongs to those who wait
            failure = error
        finally:
            expiry.cancel()
            self._finish(flight, loaded, failure)
        if loaded is not None and head is not None and not flight.doomed:
            await self._fill(flight.need, loaded, head)

    def _expire(self, flight: Flight[_Waiter], task: asyncio.Task[None] | None) -> None:
        self._finish(flight, None, StoresUnavailable("the stores did not answer in time"))
        if task is not None:
            task.cancel()

    def _finish(
        self, flight: Flight[_Waiter], loaded: Loaded | None, failure: BaseException
    ) -> None:
        """Lands `flight`, once: keeps and hands out what it brought. Errors are never kept."""
        if flight.landed:
            return
        if loaded is not None and not flight.doomed:
            self._memory.put(flight.need, loaded.fact, self._instant())
        self.counts["doomed"] += flight.doomed
        self.counts["failed"] += loaded is None
        following = self._flights.land(flight)
        waiters, flight.waiters = flight.waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if loaded is None:
                waiter.set_exception(failure)
            else:
                waiter.set_result(loaded)
        if following is not None:
            self._start(following)

    async def _read(self, need: Need) -> tuple[Loaded, Head | None]:
        assert not isinstance(need, TokenNeed)  # noqa: S101  narrows; tokens do not fly
        head = None
        if self._redis is not None and self._is_leased(need):
            look = await self._look(self._redis, need)
            # A change may have been applied here before Redis was told of it, or while we asked a
            # master that was replaced: what was found is then older than what is known.
            if look.head is not None and look.head.seq >= self._reached[shard_of_need(need)]:
                if look.fact is not None:
                    return Loaded(look.fact, Tier.REDIS), None
                head = look.head
        return Loaded(await self._primary.read(need), Tier.POSTGRES), head

    async def _look(self, redis: RedisCache, need: StoreNeed) -> Look:
        """Redis is an accelerator: whatever goes wrong with it is a miss."""
        try:
            async with asyncio.timeout(self._redis_seconds):
                return await redis.look(need)
        except (RedisError, OSError, TimeoutError):
            return Look(None, None)

    async def _fill(self, need: Need, loaded: Loaded, head: Head) -> None:
        fact = loaded.fact
        if self._redis is None or isinstance(fact, Absent | Denial | VerifiedToken):
            return
        if isinstance(need, TokenNeed):
            return
        try:
            await self._redis.fill(need, fact, head)
        except (RedisError, OSError):
            self.counts["fill-failed"] += 1
