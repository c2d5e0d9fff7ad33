"""What this sidecar knows without asking: facts by need, bounded, and only while they may be used.

Facts of the stores (sessions, users, role graphs, and that one of them is absent) are used only
under the lease of their shard (`leased`); verified tokens need none.

Whether a value read *before* an invalidation may be put *after* it is not judged here but by the
flight that loads it. Here an older version never replaces a newer one, and that is all.

What has expired is not used and yet stays, until it is read anew or makes room: so it keeps its
place among what is in use, what was compiled from it stays good where it has not changed, and
routes that opt into last-known-good (R9) find it by `recall`. Invalidations remove it like all.
"""

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from sidecar.cache.by_tenant import Key
from sidecar.cache.leased import NEVER_ENDS, NO_SHARD, Leased, Vouch
from sidecar.cache.lifetimes import Lifetime
from sidecar.cache.regions import Kept, Region, Regions, Statistics
from sidecar.cache.sharing import Sharing
from sidecar.model.decision import Denial
from sidecar.model.facts import Fact, Session, User
from sidecar.model.need import (
    ABSENT,
    Absent,
    Found,
    Need,
    RolesNeed,
    SessionNeed,
    TokenNeed,
    UserNeed,
    shard_of_need,
)
from sidecar.model.reason import STATUS, Reason
from sidecar.settings.schema import Cache

# Entries written together must not expire together: each lives 0.9 to 1.1 of its time.
_SHORTEST: Final = 0.9
# Read anew when this much of its time is over: what is in use never expires under a request.
_AHEAD: Final = 0.8
# Waiting to be read anew; more than this in a moment are left to expire.
_MOST_DUE: Final = 1000
_SPREAD: Final = 0.2
# Looked up at least this often, so that what is in use is seen to be in use.
_VOUCHED_SECONDS: Final = 10.0


class Recalled(NamedTuple):
    """A fact that was known once.

    Attributes:
        fact: the fact.
        ended: monotonic instant until which it could be used: the end of its lifetime or of the
            lease of its shard, whichever came first.
    """

    fact: Found | Denial
    ended: float


class Memory(Leased):
    """The first cache level. One thread only. It begins without a lease: nothing is used."""

    __slots__ = (
        "_ahead",
        "_due",
        "_enabled",
        "_jitter",
        "_keep_absent",
        "_lifetimes",
        "_negative_seconds",
        "_regions",
        "_sharing",
    )

    def __init__(
        self,
        sizes: Cache,
        *,
        jitter: Callable[[], float],
        negative: bool = True,
        enabled: bool = True,
        ahead: bool = True,
        adaptive: bool = True,
    ) -> None:
        """Make an empty memory.

        Args:
            sizes: bounds in entries, lifetimes in seconds.
            jitter: gives evenly distributed numbers in [0, 1).
            negative: whether refusals and absences are kept (feature ``negative_cache``).
            enabled: whether anything is (feature ``memory_cache``).
            ahead: whether facts in use become due before they expire (``refresh_ahead``).
            adaptive: whether lifetimes follow the rate of changes (``adaptive_lifetimes``).
        """
        super().__init__(sizes.lease_seconds)
        self._negative_seconds = sizes.negative_seconds
        self._jitter = jitter
        self._keep_absent = negative
        self._enabled = enabled
        self._ahead = ahead
        self._due: deque[Need] = deque()
        self._sharing = Sharing()
        start = sizes.entry_seconds
        shortest = sizes.shortest_entry_seconds if adaptive else start
        longest = sizes.longest_entry_seconds if adaptive else start
        self._lifetimes: dict[type[Need], Lifetime] = {
            kind: Lifetime(start, shortest=shortest, longest=longest)
            for kind in (SessionNeed, UserNeed, RolesNeed)
        }
        # Nothing tells of tokens that change, because they do not.
        self._lifetimes[TokenNeed] = Lifetime(start, shortest=start, longest=start)
        self._regions = Regions(sizes)

    def find(self, need: Need, now: float) -> Found | Denial | None:
        """What is known about `need` at the monotonic instant `now`, or None.

        Returns:
            The fact; `ABSENT` where the primary said there is none; for a token also the
            `Denial` it was refused with.
        """
        # The hot path, three calls for each request: `match` as in `place` costs twice as much.
        regions = self._regions
        region: Region
        kind = need.__class__
        key: Any = need  # a Key; what `kind` says of `need`, mypy cannot see
        if kind is UserNeed:
            region = regions.users
        elif kind is RolesNeed:
            region = regions.role_graphs
        elif kind is SessionNeed:
            region, key = regions.sessions, need[0]
        else:
            region, key = regions.tokens, need[0]
        kept = region.get(key)
        if kept is not None:
            if now < kept[1]:
                if now >= self._leases[kept[3]]:
                    _uncount(region)
                    return None
                if now >= kept[2]:
                    self._fall_due(need, region, key, kept)
                return kept[0]
            _uncount(region)
        if key in regions.negative:
            return self._find_negative(key, now)
        return None

    def vouch(self, needs: Sequence[Need], now: float) -> Vouch | None:
        """Vouches for the facts of `needs`, just found; None where they are of several shards.

        For what memory holds now: not for what was found earlier, unless `changes` is as it was
        then.
        """
        until = now + _VOUCHED_SECONDS
        shard = NO_SHARD
        for need in needs:
            region, key = self._regions.place(need)
            kept = region.peek(key) or self._regions.negative.peek(key)
            if kept is None:
                return None
            until = min(until, kept[1], kept[2])
            if shard != kept[3] != NO_SHARD:
                if shard != NO_SHARD:
                    return None
                shard = kept[3]
        return Vouch(shard, self._changes[shard] + self._changes[NO_SHARD], until)

    def recall(self, need: Need, now: float, within: float) -> Recalled | None:
        """What was known about `need` and could be used less than `within` seconds before `now`.

        Never an absence or a refusal: these are kept apart, and nobody is let in by them.
        """
        region, key = self._regions.place(need)
        kept = region.peek(key)
        if kept is None:
            return None
        ended = min(kept[1], self._proven[kept[3]])
        return Recalled(kept[0], ended) if now - ended < within else None

    def put(self, need: Need, found: Found | Denial, now: float) -> None:
        """Keep what was loaded for `need` at the monotonic instant `now`.

        An older version than the one kept is ignored. `ABSENT` must come from the primary: a
        replica that lags would refuse who has just signed up.
        """
        if not self._enabled:
            return
        region, key = self._regions.place(need)
        shard = NO_SHARD if isinstance(need, TokenNeed) else shard_of_need(need)
        lifetime = self._lifetimes[need.__class__]
        lifetime.watch(len(region) if now < self._leases[shard] else 0, now)
        if isinstance(found, Absent | Denial):
            if region.delete(key):
                self._changes[shard] += 1
                lifetime.changed()
            if self._keep_absent and _worth_keeping(found):
                until = now + self._negative_seconds * self._stretch()
                self._regions.negative.put(key, (found, until, NEVER_ENDS, shard))
            return
        kept = region.peek(key)
        if kept is not None:
            if _version(found) < _version(kept[0]):
                return
            if found == kept[0]:
                # The same object: what was compiled from it stays good.
                found = kept[0]
            else:
                self._changes[shard] += 1
                lifetime.changed()
        if self._regions.negative.delete(key):
            self._changes[shard] += 1
        if isinstance(found, Session):
            self._sharing.session(found)
        elif isinstance(found, User) and isinstance(need, UserNeed):
            self._sharing.user(found, need)
        seconds = lifetime.seconds * self._stretch()
        refreshes = self._ahead and not isinstance(need, TokenNeed)
        due = now + _AHEAD * seconds if refreshes else NEVER_ENDS
        region.put(key, (found, now + seconds, due, shard))

    def take_due(self, most: int) -> list[Need]:
        """Up to `most` needs in use that will soon expire; each is given once."""
        return [self._due.popleft() for _ in range(min(most, len(self._due)))]

    def sample(self, most: int, chance: float) -> list[tuple[UserNeed | RolesNeed, Fact]]:
        """Some of what is known, beginning at a place chosen by `chance` in [0, 1)."""
        return self._regions.sample(most, chance)

    def in_use(self, most: int, chance: float = 0.0) -> list[SessionNeed | UserNeed | RolesNeed]:
        """Up to `most` needs of each kind that were looked up several times lately.

        Where there are more, `chance` in [0, 1) chooses the place to begin.
        """
        return self._regions.in_use(most, chance)

    def knows(self, need: Need, now: float) -> bool:
        """Whether `find` would find anything; counts nothing and keeps nothing alive."""
        region, key = self._regions.place(need)
        for each in (region, self._regions.negative):
            kept = each.peek(key)
            if kept is not None and now < kept[1] and now < self._leases[kept[3]]:
                return True
        return False

    def is_used(self, need: Need, now: float) -> bool:
        """Whether a fact is known that has not expired and was found lately, leased or not."""
        region, key = self._regions.place(need)
        kept = region.peek(key)
        return kept is not None and now < kept[1] and region.uses(key) > 0

    def forget_use(self, need: Need) -> None:
        """From now on `is_used` tells of uses that are still to come."""
        region, key = self._regions.place(need)
        region.forget_use(key)

    def holds(self, need: Need, fact: Fact) -> bool:
        """Whether this very object is what is known about `need`."""
        region, key = self._regions.place(need)
        kept = region.peek(key)
        return kept is not None and kept[0] is fact

    def drop(self, need: Need) -> None:
        """Forget all about `need`, which has changed."""
        region, key = self._regions.place(need)
        # Also where it is not known any more: what was made from it may still be in use.
        self._changes[NO_SHARD if isinstance(need, TokenNeed) else shard_of_need(need)] += 1
        if region.delete(key):
            self._lifetimes[need.__class__].changed()
        self._regions.negative.delete(key)

    def drop_tenant(self, tenant: str) -> None:
        """Forget the users and the role graph of `tenant`. O(users of the tenant in memory)."""
        self._regions.delete_users(tenant)
        self.drop(RolesNeed(tenant))

    def drop_tokens_of_key(self, issuer: str, key_ids_still_valid: AbstractSet[str]) -> None:
        """Forget the tokens of `issuer` whose key is gone, and refusals that new keys may end."""
        self._changes[NO_SHARD] += 1
        self._regions.delete_tokens_of_key(issuer, key_ids_still_valid)

    def flush(self) -> None:
        """Forget everything. The leases are left to whoever sets them."""
        self._changes[NO_SHARD] += 1
        self._regions.clear()

    def flush_shard(self, shard: int) -> None:
        """Forget all facts of one shard. O(facts in memory), and rare."""
        self._changes[shard] += 1
        self._regions.delete_shard(shard)

    def statistics(self) -> Statistics:
        """The counters of all regions."""
        return self._regions.statistics()

    def lifetimes(self) -> dict[str, float]:
        """For how many seconds facts are kept now, by kind."""
        return {
            "session": self._lifetimes[SessionNeed].seconds,
            "user": self._lifetimes[UserNeed].seconds,
            "roles": self._lifetimes[RolesNeed].seconds,
        }

    def _fall_due(self, need: Need, region: Region, key: Key, kept: Kept) -> None:
        region.put(key, (kept[0], kept[1], NEVER_ENDS, kept[3]))
        if len(self._due) < _MOST_DUE:
            self._due.append(need)

    def _find_negative(self, key: Key, now: float) -> Found | Denial | None:
        negative = self._regions.negative
        kept = negative.get(key)
        if kept is None:
            return None
        if now >= kept[1]:
            negative.delete(key)
            _uncount(negative)
        elif now >= self._leases[kept[3]]:
            _uncount(negative)
        else:
            return kept[0]
        return None

    def _stretch(self) -> float:
        return _SHORTEST + _SPREAD * self._jitter()


def _worth_keeping(found: Absent | Denial) -> bool:
    """Whether asking again within seconds would give the same answer.

    Faults (5xx) may be over, and a token that is not valid yet soon is.
    """
    if found is ABSENT:
        return True
    reason = found.reason
    return STATUS.get(reason) == 401 and reason is not Reason.TOKEN_NOT_YET_VALID


def _version(found: Found | Denial) -> int:
    return found.version if isinstance(found, Fact) else 0


def _uncount(region: Region) -> None:
    """What a `get` has just found may not be used: that was no hit."""
    region.hits -= 1
    region.misses += 1
