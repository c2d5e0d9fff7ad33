"""Warming: a sidecar that starts asks what its siblings use most, before it takes traffic.

Each sidecar now and then tells Redis what it uses often; the counts fade, so that yesterday's
favourites do not crowd out today's. What is loaded comes from Redis first, so that a rollout does
not fall on the database. Bounded in number and time, and never on the path of a request.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
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
# Told this often, this much: a few kilobytes.
_REPORT_SECONDS: Final = 10.0
_REPORTED: Final = 500
# Loads under way at once while warming: enough to be quick, few enough for a small database.
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
        cache: how many, and how long at most.
        instant: the clock of leases.

    Attributes:
        warmed: facts loaded at the start.
    """

    def __init__(
        self,
        favourites: Favourites,
        memory: Memory,
        tiers: Tiers,
        cache: Cache,
        *,
        instant: Callable[[], float],
    ) -> None:
        self._favourites = favourites
        self._memory = memory
        self._tiers = tiers
        self._most = cache.warm_entries
        self._seconds = cache.warm_seconds
        self._instant = instant
        self.warmed = 0

    async def warm(self) -> None:
        """Load what siblings use most; returns when that is done or its time is over."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._load_all(await self._wanted())
        except TimeoutError:
            _log.info("warming ended after %g s with %d facts", self._seconds, self.warmed)
        except (RedisError, OSError) as error:
            _log.info("nothing to warm from: %s", type(error).__name__)

    async def _wanted(self) -> list[StoreNeed]:
        most = max(1, self._most // SHARDS)
        lists = await asyncio.gather(
            *(self._favourites.most_used(shard, most) for shard in range(SHARDS))
        )
        found = (decode_need(member) for members in lists for member in members)
        return [need for need in found if need is not None]

    async def _load_all(self, needs: list[StoreNeed]) -> None:
        waiting = iter(needs)

        async def work() -> None:
            for need in waiting:
                try:
                    await self._tiers.load(need, self._instant())
                    self.warmed += 1
                except StoresUnavailable:
                    return

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))

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
        for need in self._memory.in_use(_REPORTED):
            members.setdefault(shard_of_need(need), []).append(encode_need(need))
        if members:
            await self._favourites.note_used(members)
