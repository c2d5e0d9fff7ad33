"""Until when what is known of each shard may be used, and whether it has changed since.

Facts of the stores are used only under the lease (SYNC.md, "In each sidecar"): without proof that
the news flows, nothing of them is found. The lease is one for each shard (R11): a decision finds
what it needs only where the news of its tenant's shard is known to flow, and one that stands still
takes nothing from the others. Verified tokens need no lease: they prove themselves, and refer to a
user who does.
"""

from typing import Final, NamedTuple

from sidecar.model.shard import SHARDS

NEVER_ENDS: Final = float("inf")
# Behind the leases of the shards: one that never ends, for tokens.
NO_SHARD: Final = SHARDS


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


class Leased:
    """Something that is used only under the leases of its shards. It begins without.

    Args:
        lease_seconds: how long a lease is.
    """

    __slots__ = ("_changes", "_lease_seconds", "_leases", "_proven")

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        # Looked at after each hit, hence a list and no method.
        self._leases = [0.0] * SHARDS + [NEVER_ENDS]
        # How often anything of a shard was forgotten or replaced; the last is of tokens.
        self._changes = [0] * (SHARDS + 1)
        # Until when facts of a shard could last be used; a lease that ends early forgets that.
        self._proven = [-NEVER_ENDS] * SHARDS + [NEVER_ENDS]

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
            self._proven[shard] = known - self._lease_seconds

    def lease_all(self, until: float) -> None:
        """The same for all shards."""
        for shard in range(SHARDS):
            self.lease(shard, until)

    def leased_until(self, shard: int) -> float:
        """Monotonic instant until which facts of `shard` may be used; perhaps one that is over."""
        return self._leases[shard]

    def is_leased(self, shard: int, now: float) -> bool:
        """Whether facts of `shard` may be used at the monotonic instant `now`."""
        return now < self._leases[shard]

    def leased_shards(self, now: float) -> int:
        """Of how many shards facts may be used at the monotonic instant `now`."""
        return sum(now < until for until in self._leases[:SHARDS])

    def changes(self, shard: int) -> int:
        """How often anything changed that what is of `shard` depends on; says nothing alone."""
        return self._changes[shard] + self._changes[NO_SHARD]

    def stands(self, vouch: Vouch, now: float) -> bool:
        """Whether looking the facts up at the monotonic instant `now` would find the same."""
        shard, change, until = vouch
        changes = self._changes
        return (
            now < until
            and now < self._leases[shard]
            and changes[shard] + changes[NO_SHARD] == change
        )
