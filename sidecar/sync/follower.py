"""What the news does to this sidecar's memory: plain bookkeeping, without I/O."""

from typing import Protocol

from sidecar.model.change import ChangeKind
from sidecar.model.need import Need, RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import SHARDS
from sidecar.sync.keyspace import News


class Forgets(Protocol):
    """The memory, as far as the news concerns it (`cache.memory.Memory`)."""

    lease_until: float

    def drop(self, need: Need) -> None:
        """Forget one fact."""
        ...

    def drop_session(self, digest: bytes) -> None:
        """Forget one session."""
        ...

    def drop_tenant(self, tenant: str) -> None:
        """Forget all users and roles of a tenant."""
        ...

    def flush(self) -> None:
        """Forget everything."""
        ...


class Dooms(Protocol):
    """Whoever has reads in the air (`Tiers`)."""

    def doom(self, need: Need) -> None:
        """What is being read for `need` may be old already."""
        ...

    def doom_tenant(self, tenant: str) -> None:
        """The same for all that is read about a tenant."""
        ...

    def doom_all(self) -> None:
        """The same for everything."""
        ...


class Follower:
    """Applies news in order, notices gaps, and keeps the lease.

    Args:
        memory: what is forgotten.
        flights: what is doomed.
        lease_seconds: how long memory may be used after the last proof that the news flows.

    Attributes:
        gaps: how often a sequence was missing or the epoch changed, so that all was forgotten.
        applied: how many changes were applied.
    """

    def __init__(self, memory: Forgets, flights: Dooms, lease_seconds: float) -> None:
        self._memory = memory
        self._flights = flights
        self._lease_seconds = lease_seconds
        self._watermarks: list[int | None] = [None] * SHARDS
        self._epochs: list[int | None] = [None] * SHARDS
        self.gaps = 0
        self.applied = 0

    def start_anew(self) -> None:
        """News may have been missed: forget everything, doom what is being read (R5)."""
        self._watermarks = [None] * SHARDS
        self._epochs = [None] * SHARDS
        self._forget_all()

    def prove(self, sent: float) -> None:
        """All news published before the instant `sent` was applied: renews the lease."""
        until = sent + self._lease_seconds
        self._memory.lease_until = max(self._memory.lease_until, until)

    def apply(self, news: News) -> None:
        """One change: forget at once what it concerns; then the watermark moves.

        A missing sequence, or another epoch, means that other changes were missed: then
        everything is forgotten, which is simple and safe.
        """
        if not 0 <= news.shard < SHARDS:
            return
        watermark, epoch = self._watermarks[news.shard], self._epochs[news.shard]
        missed = watermark is not None and news.seq > watermark + 1
        if missed or (epoch is not None and epoch != news.epoch):
            self.gaps += 1
            self._forget_all()
            # Sequences of another life may begin lower.
            watermark = None
        self._forget(news)
        self._watermarks[news.shard] = max(watermark or 0, news.seq)
        self._epochs[news.shard] = news.epoch
        self.applied += 1

    def watermark(self, shard: int) -> int | None:
        """The highest sequence applied without a gap; None before the first."""
        return self._watermarks[shard]

    def _forget(self, news: News) -> None:
        match news.kind:
            case ChangeKind.USER:
                self._drop(UserNeed(news.tenant, news.subject))
            case ChangeKind.ROLES:
                self._drop(RolesNeed(news.tenant))
            case ChangeKind.SESSION:
                self._memory.drop_session(news.payload)
                self._flights.doom(SessionNeed(news.payload, news.shard))
            case ChangeKind.TENANT:
                self._memory.drop_tenant(news.tenant)
                self._flights.doom_tenant(news.tenant)
            case ChangeKind.FLUSH:
                self._forget_all()

    def _drop(self, need: Need) -> None:
        self._memory.drop(need)
        self._flights.doom(need)

    def _forget_all(self) -> None:
        self._memory.flush()
        self._flights.doom_all()
