"""Loads what a decision lacks: memory, then Redis, then PostgreSQL, all within one bound."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from sidecar.cache.flights import Flight, Flights
from sidecar.cache.memory import Memory
from sidecar.model.decision import Denial
from sidecar.model.errors import StoresUnavailable
from sidecar.model.facts import VerifiedToken
from sidecar.model.need import (
    Found,
    Need,
    SessionNeed,
    StoreNeed,
    TokenNeed,
    shard_of_need,
)
from sidecar.settings.schema import Features
from sidecar.sync.cancellation import end_tasks
from sidecar.sync.keyspace import StoreFact
from sidecar.sync.levels import Levels, Loaded, Primary, Reading, Tier
from sidecar.sync.redis_cache import RedisCache

__all__ = ["Loaded", "Primary", "Tier", "Tiers"]


class Foresees(Protocol):
    """Who loads ahead (`sync.anticipation.Anticipation`), as far as loading concerns it."""

    def asked(self, need: StoreNeed, /) -> None:
        """A request asks for `need`, which memory lacks."""
        ...

    def landed(self, need: StoreNeed, fact: Found | Denial, /) -> None:
        """A store answered."""
        ...

    def failed(self) -> None:
        """No store did."""
        ...


# Refreshing goes along quietly: at most 160 reads a second.
_FRESH_SECONDS: Final = 0.1
_FRESH_AT_ONCE: Final = 16
# What one core could read at best. Whoever comes beyond would be late, and make others late.
_MOST_PER_SECOND: Final = 5_000

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
        counts: answers by tier, reads that were ``doomed`` or ``failed``, and fills of Redis that
            were not made (``fill-failed``, ``fill-refused-<cause>``), since the start.
        foresees: is told what is asked for and what came; None for nobody.
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
        self.counts: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._aloft: set[_Journey] = set()
        # Half for Redis, so that one that hangs leaves the other half to PostgreSQL.
        self._levels = Levels(
            primary,
            redis if features.redis_cache else None,
            load_seconds / 2,
            self.counts,
            is_leased=self._is_leased,
            tasks=self._tasks,
        )
        self._verify = verify
        self._share = features.single_flight
        self._load_seconds = load_seconds
        self._most = max(1, int(load_seconds * _MOST_PER_SECOND))
        self._instant = instant
        self._flights: Flights[_Waiter] = Flights()
        self._is_closed = False
        self.foresees: Foresees | None = None

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
        if self.foresees is not None:
            self.foresees.asked(need)
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

    def anticipate(self, need: StoreNeed) -> bool:
        """Read `need` for nobody who waits yet; a request that asks for it meanwhile joins.

        The read is a flight like any other: doomed by news, and joined under a lease only (R6).

        Returns:
            Whether a read was started. None is without a lease (what it would bring could not be
            used), nor for what memory knows or somebody is reading already.
        """
        if not self._is_leased(need) or self._memory.knows(need, self._instant()):
            return False
        if self._share:
            flight = self._flights.board(need, _nobody(), leased=True)
        else:
            flight = self._flights.alone(need, _nobody())
        if flight is None:
            return False
        self._start(flight)
        return True

    async def load_many(self, needs: Sequence[StoreNeed]) -> list[StoreNeed]:
        """Read some hundreds of needs from Redis in one round, into memory and for nobody.

        Each is a flight of its own, which news dooms and nobody joins; what Redis knew before the
        news that was applied here is a miss, as in any read.

        Returns:
            The needs that Redis could not answer, or news has overtaken.
        """
        wanted = [need for need in needs if self._is_leased(need)]
        flights = [self._flights.alone(need, _nobody()) for need in wanted]
        facts: list[StoreFact | None] = [None] * len(wanted)
        try:
            facts = await self._levels.read_many(wanted)
        finally:
            pairs = zip(flights, facts, strict=True)
            found = {flight.need for flight, fact in pairs if self._land(flight, fact)}
        return [need for need in needs if need not in found]

    async def keep_fresh(self) -> None:
        """Reads anew what is in use and will soon expire; never returns."""
        while True:
            await asyncio.sleep(_FRESH_SECONDS)
            for need in self._memory.take_due(_FRESH_AT_ONCE):
                self.refresh(need)

    def refresh(self, need: Need) -> None:
        """Read `need` anew, for nobody who waits; a failure leaves it to expire."""
        self.counts["refreshed"] += 1
        self._start(self._flights.alone(need, _nobody()))

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
        self._levels.reached(shard, seq)

    async def close(self) -> None:
        """Ends the reads in the air, for good; whoever waits gets `StoresUnavailable`."""
        self._is_closed = True
        for journey in list(self._aloft):
            journey.fail(StoresUnavailable("the read was given up"))
        await end_tasks(self._tasks)

    def _land(self, flight: Flight[_Waiter], fact: StoreFact | None) -> bool:
        """Ends a flight of `load_many`; tells whether it brought anything that may be kept."""
        self.counts["doomed"] += flight.doomed
        kept = fact is not None and not flight.doomed
        if fact is not None and kept:
            self._memory.put(flight.need, fact, self._instant())
        self._flights.land(flight)
        return kept

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
        if self._is_closed:
            # A read that waited for one that was ended: nobody would close what it opens.
            self._finish(flight, None, StoresUnavailable("the stores are closed"))
            return
        need = flight.need
        assert not isinstance(need, TokenNeed)  # noqa: S101  narrows; tokens do not fly
        if len(self._aloft) >= self._most:
            self._finish(flight, None, StoresUnavailable("too many reads are under way"))
            return
        journey = _Journey(need, flight, self._load_seconds, self._end)
        self._aloft.add(journey)
        self._levels.start(journey)

    def _end(
        self, journey: "_Journey", loaded: Loaded | None, failure: BaseException | None
    ) -> bool:
        """Ends a read; tells whether what it brought may go to Redis, too."""
        self._aloft.discard(journey)
        self._finish(journey.flight, loaded, failure)
        return not journey.flight.doomed

    def _finish(
        self, flight: Flight[_Waiter], loaded: Loaded | None, failure: BaseException | None
    ) -> None:
        """Lands `flight`, once: keeps and hands out what it brought. Errors are never kept."""
        if flight.landed:
            return
        if loaded is not None and not flight.doomed:
            self._memory.put(flight.need, loaded.fact, self._instant())
        self.counts["doomed"] += flight.doomed
        self.counts["failed"] += loaded is None
        if self.foresees is not None:
            self._tell(self.foresees, flight, loaded)
        following = self._flights.land(flight)
        waiters, flight.waiters = flight.waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if loaded is None:
                waiter.set_exception(failure or StoresUnavailable("the read failed"))
            else:
                waiter.set_result(loaded)
        if following is not None:
            self._start(following)

    def _tell(self, foresees: Foresees, flight: Flight[_Waiter], loaded: Loaded | None) -> None:
        if loaded is None:
            foresees.failed()
        elif not isinstance(flight.need, TokenNeed):
            foresees.landed(flight.need, loaded.fact)


class _Journey(Reading):
    """A flight's way through the levels, within its bound.

    Args:
        need: of `flight`.
        flight: what is flown.
        seconds: the bound. Half of it is for Redis.
        end: is told how it ended.
    """

    __slots__ = ("_end", "_expiry", "flight")

    def __init__(
        self,
        need: StoreNeed,
        flight: Flight[_Waiter],
        seconds: float,
        end: Callable[["_Journey", Loaded | None, BaseException | None], bool],
    ) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        super().__init__(need, now + seconds / 2, now + seconds)
        self.flight = flight
        self._end = end
        # A timer rather than `asyncio.timeout`: cancelling a query waits for the server's word,
        # up to seconds when it is gone, and nobody may wait for that.
        self._expiry = loop.call_at(self.until, self._expire)

    def is_wanted(self) -> bool:
        """Whether somebody waits; `_nobody` does, all the time."""
        return not all(waiter.done() for waiter in self.flight.waiters)

    def land(self, loaded: Loaded) -> bool:
        """It is answered."""
        self._over()
        return self._end(self, loaded, None)

    def fail(self, failure: BaseException) -> None:
        """It is not."""
        self._over()
        self._end(self, None, failure)

    def _expire(self) -> None:
        self.leave()
        self.fail(StoresUnavailable("the stores did not answer in time"))

    def _over(self) -> None:
        self.is_over = True
        self._expiry.cancel()


def _nobody() -> _Waiter:
    """A waiter for a flight that nobody waits for."""
    waiter: _Waiter = asyncio.get_running_loop().create_future()
    # Nobody awaits it, so somebody has to look at its failure.
    waiter.add_done_callback(lambda future: future.cancelled() or future.exception())
    return waiter
