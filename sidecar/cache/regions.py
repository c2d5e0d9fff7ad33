"""Where the facts of each kind are: regions of memory, each bounded by itself."""

from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

import msgspec

from sidecar.cache.by_tenant import ByTenant, Key
from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.decision import Denial
from sidecar.model.facts import Fact, Session, VerifiedToken
from sidecar.model.need import Found, Need, RolesNeed, SessionNeed, TokenNeed, UserNeed
from sidecar.model.reason import Reason
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache

# What is kept; the monotonic instant from which on it is not used; the one from which on whoever
# finds it has it read anew in the background; the place of its shard's lease.
Kept = tuple[Found | Denial, float, float, int]
Region = S3Fifo[Key, Kept]

# Refusals of tokens that a change of keys may turn around.
_ENDED_BY_NEW_KEYS: Final = frozenset({Reason.UNKNOWN_KEY, Reason.BAD_SIGNATURE})


class RegionStatistics(msgspec.Struct, frozen=True, gc=False):
    """Counters of one region since the start. An entry found too old to use is a miss."""

    entries: int
    hits: int
    misses: int
    evictions: int


class Statistics(msgspec.Struct, frozen=True, gc=False):
    """The counters of each region; the names are those of the settings' sizes."""

    sessions: RegionStatistics
    tokens: RegionStatistics
    users: RegionStatistics
    role_graphs: RegionStatistics
    negative: RegionStatistics


class Regions:
    """All regions, empty at first.

    Args:
        sizes: bounds in entries.

    Attributes:
        sessions: by digest.
        tokens: by digest.
        users: by tenant and subject.
        role_graphs: by tenant.
        negative: refusals and absences, one region for all kinds: a flood of bad credentials
            evicts other bad ones, never good ones.
    """

    __slots__ = ("negative", "role_graphs", "sessions", "tokens", "users")

    def __init__(self, sizes: Cache) -> None:
        self.sessions: Region = S3Fifo(sizes.sessions)
        self.tokens: Region = S3Fifo(sizes.tokens)
        self.users: ByTenant[Kept] = ByTenant(sizes.users)
        self.role_graphs: Region = S3Fifo(sizes.role_graphs)
        self.negative: ByTenant[Kept] = ByTenant(sizes.negative)

    def place(self, need: Need) -> tuple[Region, Key]:
        """The region of `need`, and how it is named there."""
        match need:
            case SessionNeed(digest=digest):
                return self.sessions, digest
            case TokenNeed(key=key):
                return self.tokens, key
            case UserNeed():
                return self.users, need
            case RolesNeed():
                return self.role_graphs, need

    def _named(self) -> dict[str, Region]:
        return {name: getattr(self, name) for name in Statistics.__struct_fields__}

    def statistics(self) -> Statistics:
        """The counters of all."""
        return Statistics(
            **{
                name: RegionStatistics(len(region), region.hits, region.misses, region.evictions)
                for name, region in self._named().items()
            }
        )

    # -- Looking through --------------------------------------------------------------------

    def sample(self, most: int, chance: float) -> list[tuple[UserNeed | RolesNeed, Fact]]:
        """As `Memory.sample`."""
        found: list[tuple[UserNeed | RolesNeed, Fact]] = []
        for region in (self.users, self.role_graphs):
            begin = int(chance * len(region))
            for key in islice(region, begin, begin + most):
                kept = region.peek(key)
                if not isinstance(key, bytes) and kept is not None and isinstance(kept[0], Fact):
                    found.append((key, kept[0]))
        return found

    def in_use(self, most: int, chance: float) -> list[SessionNeed | UserNeed | RolesNeed]:
        """As `Memory.in_use`."""
        found: list[SessionNeed | UserNeed | RolesNeed] = []
        for key in self.sessions.in_use(most, int(chance * len(self.sessions))):
            kept = self.sessions.peek(key)
            if isinstance(key, bytes) and kept is not None and isinstance(kept[0], Session):
                found.append(SessionNeed(key, shard_of(kept[0].tenant)))
        for region in (self.users, self.role_graphs):
            begin = int(chance * len(region))
            found += [key for key in region.in_use(most, begin) if not isinstance(key, bytes)]
        return found

    # -- Forgetting -------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget everything."""
        for region in self._named().values():
            region.clear()

    def delete_users(self, tenant: str) -> None:
        """Forget the users of `tenant`. O(those)."""
        self.users.delete_users(tenant)
        self.negative.delete_users(tenant)

    def delete_shard(self, shard: int) -> None:
        """Forget all facts of one shard. O(facts)."""
        for region in self._named().values():
            for key in list(region):
                kept = region.peek(key)
                if kept is not None and kept[3] == shard:
                    region.delete(key)

    def delete_tokens_of_key(self, issuer: str, key_ids_still_valid: AbstractSet[str]) -> None:
        """As `Memory.drop_tokens_of_key`. O(tokens and refusals)."""
        for key in list(self.tokens):
            kept = self.tokens.peek(key)
            token = None if kept is None else kept[0]
            if (
                isinstance(token, VerifiedToken)
                and token.issuer == issuer
                and token.key_id not in key_ids_still_valid
            ):
                self.tokens.delete(key)
        for key in list(self.negative):
            kept = self.negative.peek(key)
            refusal = None if kept is None else kept[0]
            if isinstance(refusal, Denial) and refusal.reason in _ENDED_BY_NEW_KEYS:
                self.negative.delete(key)
