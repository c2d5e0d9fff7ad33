"""Warming: a sidecar that starts asks what its siblings use most, before it takes traffic.

Each sidecar now and then tells Redis what it uses often; the counts fade, so that yesterday's
favourites do not crowd out today's. What is loaded comes from Redis, some hundreds of facts in one
round trip, so that a rollout does not fall on the database; only what Redis lacks is asked of
PostgreSQL, a few facts at once. Bounded in number and time, and never on the path of a request.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any, Final, Protocol

import msgspec
from redis.exceptions import RedisError

from sidecar.cache.memory import Memory
from sidecar.model.errors import StoresUnavailable
from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed, shard_of_need
from sidecar.model.shard import SHARDS
from sidecar.settings.schema import Cache
from sidecar.sync.cancellation import heed_cancellation
from sidecar.sync.tiers import Tiers

_log: Final = logging.getLogger(__name__)
# Told this often, this many of each kind: a few kilobytes. Where there are more, chance picks.
_REPORT_SECONDS: Final = 10.0
_REPORTED: Final = 500
# Facts asked of Redis in one round trip: decoding them takes the loop two milliseconds. And round
# trips under way at once: more are not faster, as decoding is what takes time.
_BATCH: Final = 250
_BATCHES_AT_ONCE: Final = 2
# Loads of what Redis lacks: enough to be quick, few enough for a small database.
_AT_ONCE: Final = 16


class Favourites(Protocol):
    """Redis (`RedisCache`); both raise `RedisError`."""

    async def note_used(self, members: Mapping[int, Sequence[bytes]], /) -> None:
        """Count these once more, by shard; older counts fade."""
        ...

    async def most_used(self, shard: int, most: int, /) -> list[bytes]:
        """The most used of a shard, first."""
        ...


def encode_need(need: StoreNeed) -> bytes:
    """`need` as a member of the favourites."""
    match need:
        case SessionNeed(digest=digest, shard=shard):
            return msgspec.msgpack.encode(("s", digest, shard))
        case UserNeed(tenant=tenant, subject=subject):
            return msgspec.msgpack.encode(("u", tenant, subject))
        case RolesNeed(tenant=tenant):
            return msgspec.msgpack.encode(("r", tenant, ""))


def decode_need(member: bytes) -> StoreNeed | None:
    """The need of a member; None for anything else, which another release may have written."""
    try:
        written: Any = msgspec.msgpack.decode(member)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    match written:
        case ["s", bytes(digest), int(shard)]:
            return SessionNeed(digest, shard)
        case ["u", str(tenant), str(subject)]:
            return UserNeed(tenant, subject)
        case ["r", str(tenant), _]:
            return RolesNeed(tenant)
        case _:
            return None


class Warmer:
    """Loads favourites at the start, and reports them afterwards.

    Args:
        favourites: where they are counted.
        memory: knows what is used.
        tiers: loads.
        cache: how many, how long at most, and which share of them is enough to begin with.
        instant: the clock of leases.
        chance: evenly distributed numbers in [0, 1).

    Attributes:
        wanted: facts that were to be loaded at the start.
        warmed: facts that were.
        seconds: how long that took, once it is over.
    """

    def __init__(
        self,
        favourites: Favourites,
        memory: Memory,
        tiers: Tiers,
        cache: Cache,
        *,
        instant: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._favourites = favourites
        self._memory = memory
        self._tiers = tiers
        self._most = cache.warm_entries
        self._seconds = cache.warm_seconds
        self._share = cache.warm_ready_share
        self._instant = instant
        self._chance = chance
        self._enough = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.wanted = 0
        self.warmed = 0
        self.seconds = 0.0

    def __str__(self) -> str:
        """How far it is, for people."""
        when = f" in {self.seconds:.2f} s" if self.seconds else ""
        return f"{self.warmed} of {self.wanted} favourites loaded{when}"

    async def warm(self) -> None:
        """Load what siblings use most; returns when enough is there or its time is over.

        What is not there by then goes on in the background, within the same time.
        """
        self._task = asyncio.create_task(self._warm_all())
        await self._enough.wait()

    async def close(self) -> None:
        """End what may still go on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _warm_all(self) -> None:
        begun = self._instant()
        self._progress(0)
        try:
            async with asyncio.timeout(self._seconds):
                needs = await self._find_wanted()
                self.wanted = len(needs)
                await self._load_all(needs)
        except TimeoutError:
            _log.info("warming ended after %g s: %s", self._seconds, self)
        except (RedisError, OSError) as error:
            _log.info("nothing to warm from: %s", type(error).__name__)
        finally:
            self.seconds = self._instant() - begun
            self._enough.set()

    async def _find_wanted(self) -> list[StoreNeed]:
        """The favourites of all shards, the most used of each first."""
        each = max(1, self._most // SHARDS)
        members = dict(enumerate(await self._most_used(range(SHARDS), each)))
        full = [shard for shard, found in members.items() if len(found) >= each]
        if full and sum(map(len, members.values())) < self._most:
            # Few tenants: what the other shards do not need is theirs.
            members.update(zip(full, await self._most_used(full, self._most), strict=True))
        ranked = chain.from_iterable(zip_longest(*members.values()))
        found = (decode_need(member) for member in ranked if member is not None)
        return list(islice((need for need in found if need is not None), self._most))

    async def _most_used(self, shards: Iterable[int], most: int) -> list[list[bytes]]:
        """Of each of `shards`; none of one whose server is away, unless all are."""
        asked = [self._favourites.most_used(shard, most) for shard in shards]
        found: list[list[bytes]] = []
        failures: list[BaseException] = []
        for each in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(each, BaseException):
                failures.append(each)
            found.append([] if isinstance(each, BaseException) else each)
        if len(failures) == len(asked):
            raise failures[0]
        return found

    async def _load_all(self, needs: Sequence[StoreNeed]) -> None:
        batches = iter([needs[at : at + _BATCH] for at in range(0, len(needs), _BATCH)])
        lacking: list[StoreNeed] = []

        async def read() -> None:
            for batch in batches:
                missed = await self._tiers.load_many(batch)
                lacking.extend(missed)
                self._progress(len(batch) - len(missed))

        await asyncio.gather(*(read() for _ in range(_BATCHES_AT_ONCE)))
        waiting = iter(lacking)

        async def load() -> None:
            for need in waiting:
                try:
                    await self._tiers.load(need, self._instant())
                except StoresUnavailable:
                    return
                self._progress(1)

        await asyncio.gather(*(load() for _ in range(_AT_ONCE)))

    def _progress(self, warmed: int) -> None:
        self.warmed += warmed
        if self.warmed >= self._share * self.wanted and (self.wanted or not self._share):
            self._enough.set()

    async def run(self) -> None:
        """Reports what is used here; never returns."""
        while True:
            heed_cancellation()
            await asyncio.sleep(_REPORT_SECONDS)
            try:
                await self.report()
            except (RedisError, OSError):
                continue  # others say so

    async def report(self) -> None:
        """Tell what is used often.

        Raises:
            RedisError: Redis could not be told.
        """
        members: dict[int, list[bytes]] = {}
        for need in self._memory.in_use(_REPORTED, self._chance()):
            members.setdefault(shard_of_need(need), []).append(encode_need(need))
        if members:
            await self._favourites.note_used(members)
