"""What this sidecar knows without asking: facts by need, bounded, and only while they may be used.

Facts of the stores (sessions, users, role graphs, and that one of them is absent) are used only
under the lease (SYNC.md, "In each sidecar"): without proof that the news flows, nothing of them is
found. The lease is one for each shard (R11): a decision finds what it needs only where the news of
its tenant's shard is known to flow, and one that stands still takes nothing from the others.
Verified tokens need no lease: they prove themselves, and refer to a user who does.

Whether a value read *before* an invalidation may be put *after* it is not judged here but by the
flight that loads it. Here an older version never replaces a newer one, and that is all.

What has expired is not used and yet stays, until it is read anew or makes room: so it keeps its
place among what is in use, what was compiled from it stays good where it has not changed, and
routes that opt into last-known-good (R9) find it by `recall`. Invalidations remove it like all.
"""

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from sidecar.cache.by_tenant import ByTenant, Key
from sidecar.cache.lifetimes import Lifetime
from sidecar.cache.s3fifo import S3Fifo
from sidecar.cache.sharing import Sharing
from sidecar.model.decision import Denial
from sidecar.model.facts import Fact, Session, User, VerifiedToken
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
from sidecar.model.shard import SHARDS, shard_of
from sidecar.settings.schema import Cache

# What is kept; the monotonic instant from which on it is not used; the one from which on whoever
# finds it has it read anew in the background; the place of its shard's lease.
_Kept = tuple[Found | Denial, float, float, int]
_Region = S3Fifo[Key, _Kept]

# Refusals of tokens that a change of keys may turn around.
_ENDED_BY_NEW_KEYS: Final = frozenset({Reason.UNKNOWN_KEY, Reason.BAD_SIGNATURE})
# Entries written together must not expire together: each lives 0.9 to 1.1 of its time.
_SHORTEST: Final = 0.9
# Read anew when this much of its time is over: what is in use never expires under a request.
_AHEAD: Final = 0.8
_NEVER: Final = float("inf")
# Behind the leases of the shards: one that never ends, for tokens.
_NO_SHARD: Final = SHARDS
# Waiting to be read anew; more than this in a moment are left to expire.
_MOST_DUE: Final = 1000
_SPREAD: Final = 0.2
# Looked up at least this often, so that what is in use is seen to be in use.
_VOUCHED_SECONDS: Final = 10.0


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


class Recalled(NamedTuple):
    """A fact that was known once.

    Attributes:
        fact: the fact.
        ended: monotonic instant until which it could be used: the end of its lifetime or of the
            lease of its shard, whichever came first.
    """

    fact: Found | Denial
    ended: float


class Vouch(NamedTuple):
    """Facts that were found together need not be looked up again while this stands.

    Attributes:
        shard: whose lease they need.
        change: the shard's count of changes when they were found.
        until: monotonic instant from which on they are looked up again in any case: one of them
            expires or is due to be read anew, or has to be seen to be in use.
    """

    shard: int
    change: int
    until: float


class Memory:
    """The first cache level. One thread only. It begins without a lease: nothing is used."""

    __slots__ = (
        "_ahead",
        "_changes",
        "_due",
        "_enabled",
        "_jitter",
        "_keep_absent",
        "_leases",
        "_lifetimes",
        "_negative",
        "_proven",
        "_role_graphs",
        "_sessions",
        "_sharing",
        "_sizes",
        "_tokens",
        "_users",
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
        self._sizes = sizes
        self._jitter = jitter
        self._keep_absent = negative
        self._enabled = enabled
        self._ahead = ahead
        self._due: deque[Need] = deque()
        self._sharing = Sharing()
        # Looked at after each hit, hence a list and no method.
        self._leases = [0.0] * SHARDS + [_NEVER]
        # How often anything of a shard was forgotten or replaced; the last is of tokens.
        self._changes = [0] * (SHARDS + 1)
        # Until when facts of a shard could last be used; a lease that ends early forgets that.
        self._proven = [-_NEVER] * SHARDS + [_NEVER]
        start = sizes.entry_seconds
        shortest = sizes.shortest_entry_seconds if adaptive else start
        longest = sizes.longest_entry_seconds if adaptive else start
        self._lifetimes: dict[type[Need], Lifetime] = {
            kind: Lifetime(start, shortest=shortest, longest=longest)
            for kind in (SessionNeed, UserNeed, RolesNeed)
        }
        # Nothing tells of tokens that change, because they do not.
        self._lifetimes[TokenNeed] = Lifetime(start, shortest=start, longest=start)
        self._sessions: _Region = S3Fifo(sizes.sessions)
        self._tokens: _Region = S3Fifo(sizes.tokens)
        self._users: ByTenant[_Kept] = ByTenant(sizes.users)
        self._role_graphs: _Region = S3Fifo(sizes.role_graphs)
        # One for all kinds: a flood of bad credentials evicts other bad ones, never good ones.
        self._negative: ByTenant[_Kept] = ByTenant(sizes.negative)

    @property
    def lease_until(self) -> float:
        """Monotonic instant until which facts of all shards may be used."""
        return min(self._leases)

    def lease(self, shard: int, until: float, /) -> None:
        """Facts of `shard` may be used until the monotonic instant `until`."""
        known = self._leases[shard]
        self._leases[shard] = until
        if until > known:
            self._proven[shard] = until
        elif until < known:
            # It ends now, whenever that is: certainly not before the heartbeat that proved it.
            self._proven[shard] = known - self._sizes.lease_seconds

    def lease_all(self, until: float) -> None:
        """The same for all shards."""
        for shard in range(SHARDS):
            self.lease(shard, until)

    def is_leased(self, shard: int, now: float) -> bool:
        """Whether facts of `shard` may be used at the monotonic instant `now`."""
        return now < self._leases[shard]

    def leased_shards(self, now: float) -> int:
        """Of how many shards facts may be used at the monotonic instant `now`."""
        return sum(now < until for until in self._leases[:SHARDS])

    def find(self, need: Need, now: float) -> Found | Denial | None:
        """What is known about `need` at the monotonic instant `now`, or None.

        Returns:
            The fact; `ABSENT` where the primary said there is none; for a token also the
            `Denial` it was refused with.
        """
        # The hot path, three calls for each request: `match` as in `_place` costs twice as much.
        region: _Region
        kind = need.__class__
        key: Any = need  # a Key; what `kind` says of `need`, mypy cannot see
        if kind is UserNeed:
            region = self._users
        elif kind is RolesNeed:
            region = self._role_graphs
        elif kind is SessionNeed:
            region, key = self._sessions, need[0]
        else:
            region, key = self._tokens, need[0]
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
        if key in self._negative:
            return self._find_negative(key, now)
        return None

    def vouch(self, needs: Sequence[Need], now: float) -> Vouch | None:
        """Vouches for the facts of `needs`, just found; None where they are of several shards."""
        until = now + _VOUCHED_SECONDS
        shard = _NO_SHARD
        for need in needs:
            region, key = self._place(need)
            kept = region.peek(key) or self._negative.peek(key)
            if kept is None:
                return None
            until = min(until, kept[1], kept[2])
            if shard != kept[3] != _NO_SHARD:
                if shard != _NO_SHARD:
                    return None
                shard = kept[3]
        return Vouch(shard, self._changes[shard] + self._changes[_NO_SHARD], until)

    def changes(self, shard: int) -> int:
        """How often anything changed that what is of `shard` depends on; says nothing alone."""
        return self._changes[shard] + self._changes[_NO_SHARD]

    def stands(self, vouch: Vouch, now: float) -> bool:
        """Whether looking the facts up at the monotonic instant `now` would find the same."""
        shard, change, until = vouch
        changes = self._changes
        return (
            now < until
            and now < self._leases[shard]
            and changes[shard] + changes[_NO_SHARD] == change
        )

    def recall(self, need: Need, now: float, within: float) -> Recalled | None:
        """What was known about `need` and could be used less than `within` seconds before `now`.

        Never an absence or a refusal: these are kept apart, and nobody is let in by them.
        """
        region, key = self._place(need)
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
        region, key = self._place(need)
        shard = _NO_SHARD if isinstance(need, TokenNeed) else shard_of_need(need)
        lifetime = self._lifetimes[need.__class__]
        lifetime.watch(len(region) if now < self._leases[shard] else 0, now)
        if isinstance(found, Absent | Denial):
            if region.delete(key):
                self._changes[shard] += 1
                lifetime.changed()
            if self._keep_absent and _worth_keeping(found):
                until = now + self._sizes.negative_seconds * self._stretch()
                self._negative.put(key, (found, until, _NEVER, shard))
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
        if self._negative.delete(key):
            self._changes[shard] += 1
        if isinstance(found, Session):
            self._sharing.session(found)
        elif isinstance(found, User) and isinstance(need, UserNeed):
            self._sharing.user(found, need)
        seconds = lifetime.seconds * self._stretch()
        refreshes = self._ahead and not isinstance(need, TokenNeed)
        due = now + _AHEAD * seconds if refreshes else _NEVER
        region.put(key, (found, now + seconds, due, shard))

    def take_due(self, most: int) -> list[Need]:
        """Up to `most` needs in use that will soon expire; each is given once."""
        return [self._due.popleft() for _ in range(min(most, len(self._due)))]

    def sample(self, most: int, chance: float) -> list[tuple[UserNeed | RolesNeed, Fact]]:
        """Some of what is known, beginning at a place chosen by `chance` in [0, 1)."""
        found: list[tuple[UserNeed | RolesNeed, Fact]] = []
        for region in (self._users, self._role_graphs):
            begin = int(chance * len(region))
            for key in islice(region, begin, begin + most):
                kept = region.peek(key)
                if not isinstance(key, bytes) and kept is not None and isinstance(kept[0], Fact):
                    found.append((key, kept[0]))
        return found

    def in_use(self, most: int, chance: float = 0.0) -> list[SessionNeed | UserNeed | RolesNeed]:
        """Up to `most` needs of each kind that were looked up several times lately.

        Where there are more, `chance` in [0, 1) chooses the place to begin.
        """
        found: list[SessionNeed | UserNeed | RolesNeed] = []
        for key in self._sessions.in_use(most, int(chance * len(self._sessions))):
            kept = self._sessions.peek(key)
            if isinstance(key, bytes) and kept is not None and isinstance(kept[0], Session):
                found.append(SessionNeed(key, shard_of(kept[0].tenant)))
        for region in (self._users, self._role_graphs):
            begin = int(chance * len(region))
            found += [key for key in region.in_use(most, begin) if not isinstance(key, bytes)]
        return found

    def knows(self, need: Need, now: float) -> bool:
        """Whether `find` would find anything; counts nothing and keeps nothing alive."""
        region, key = self._place(need)
        for each in (region, self._negative):
            kept = each.peek(key)
            if kept is not None and now < kept[1] and now < self._leases[kept[3]]:
                return True
        return False

    def is_used(self, need: Need, now: float) -> bool:
        """Whether a fact is known that has not expired and was found lately, leased or not."""
        region, key = self._place(need)
        kept = region.peek(key)
        return kept is not None and now < kept[1] and region.uses(key) > 0

    def forget_use(self, need: Need) -> None:
        """From now on `is_used` tells of uses that are still to come."""
        region, key = self._place(need)
        region.forget_use(key)

    def holds(self, need: Need, fact: Fact) -> bool:
        """Whether this very object is what is known about `need`."""
        region, key = self._place(need)
        kept = region.peek(key)
        return kept is not None and kept[0] is fact

    def drop(self, need: Need) -> None:
        """Forget all about `need`, which has changed."""
        region, key = self._place(need)
        # Also where it is not known any more: what was made from it may still be in use.
        self._changes[_NO_SHARD if isinstance(need, TokenNeed) else shard_of_need(need)] += 1
        if region.delete(key):
            self._lifetimes[need.__class__].changed()
        self._negative.delete(key)

    def drop_tenant(self, tenant: str) -> None:
        """Forget the users and the role graph of `tenant`. O(users of the tenant in memory)."""
        self._users.delete_users(tenant)
        self._negative.delete_users(tenant)
        self.drop(RolesNeed(tenant))

    def drop_tokens_of_key(self, issuer: str, key_ids_still_valid: AbstractSet[str]) -> None:
        """Forget the tokens of `issuer` whose key is gone, and refusals that new keys may end."""
        self._changes[_NO_SHARD] += 1
        for key in list(self._tokens):
            kept = self._tokens.peek(key)
            token = None if kept is None else kept[0]
            if (
                isinstance(token, VerifiedToken)
                and token.issuer == issuer
                and token.key_id not in key_ids_still_valid
            ):
                self._tokens.delete(key)
        for key in list(self._negative):
            kept = self._negative.peek(key)
            refusal = None if kept is None else kept[0]
            if isinstance(refusal, Denial) and refusal.reason in _ENDED_BY_NEW_KEYS:
                self._negative.delete(key)

    def flush(self) -> None:
        """Forget everything. The leases are left to whoever sets them."""
        self._changes[_NO_SHARD] += 1
        for region in self._regions().values():
            region.clear()

    def flush_shard(self, shard: int) -> None:
        """Forget all facts of one shard. O(facts in memory), and rare."""
        self._changes[shard] += 1
        for region in self._regions().values():
            for key in list(region):
                kept = region.peek(key)
                if kept is not None and kept[3] == shard:
                    region.delete(key)

    def statistics(self) -> Statistics:
        """The counters of all regions."""
        return Statistics(
            **{
                name: RegionStatistics(len(region), region.hits, region.misses, region.evictions)
                for name, region in self._regions().items()
            }
        )

    def lifetimes(self) -> dict[str, float]:
        """For how many seconds facts are kept now, by kind."""
        return {
            "session": self._lifetimes[SessionNeed].seconds,
            "user": self._lifetimes[UserNeed].seconds,
            "roles": self._lifetimes[RolesNeed].seconds,
        }

    def _fall_due(self, need: Need, region: _Region, key: Key, kept: _Kept) -> None:
        region.put(key, (kept[0], kept[1], _NEVER, kept[3]))
        if len(self._due) < _MOST_DUE:
            self._due.append(need)

    def _find_negative(self, key: Key, now: float) -> Found | Denial | None:
        kept = self._negative.get(key)
        if kept is None:
            return None
        if now >= kept[1]:
            self._negative.delete(key)
            _uncount(self._negative)
        elif now >= self._leases[kept[3]]:
            _uncount(self._negative)
        else:
            return kept[0]
        return None

    def _place(self, need: Need) -> tuple[_Region, Key]:
        match need:
            case SessionNeed(digest=digest):
                return self._sessions, digest
            case TokenNeed(key=key):
                return self._tokens, key
            case UserNeed():
                return self._users, need
            case RolesNeed():
                return self._role_graphs, need

    def _regions(self) -> dict[str, _Region]:
        return {
            "sessions": self._sessions,
            "tokens": self._tokens,
            "users": self._users,
            "role_graphs": self._role_graphs,
            "negative": self._negative,
        }

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


def _uncount(region: _Region) -> None:
    """What a `get` has just found may not be used: that was no hit."""
    region.hits -= 1
    region.misses += 1
