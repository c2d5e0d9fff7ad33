"""What the news does to this sidecar's memory: plain bookkeeping over all shards, without I/O."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from sidecar.cache.following import Beat, Claim, Following, Verdict
from sidecar.model.change import ChangeKind, ShardState
from sidecar.model.need import Need, RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import SHARDS
from sidecar.sync.keyspace import News
from sidecar.sync.watch import Watch

# Messages may overtake each other for this long before anybody is asked for what is missing.
PATIENCE_SECONDS: Final = 0.05


class Forgets(Protocol):
    """The memory, as far as the news concerns it (`cache.memory.Memory`)."""

    @property
    def lease_until(self) -> float:
        """Until when facts of all shards may be used."""
        ...

    def lease(self, shard: int, until: float, /) -> None:
        """Facts of a shard may be used until this instant."""
        ...

    def drop(self, need: Need) -> None:
        """Forget one fact."""
        ...

    def drop_tenant(self, tenant: str) -> None:
        """Forget all users and roles of a tenant."""
        ...

    def flush(self) -> None:
        """Forget everything."""
        ...

    def flush_shard(self, shard: int) -> None:
        """Forget everything of one shard."""
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

    def reached(self, shard: int, seq: int) -> None:
        """Changes of `shard` up to `seq` are applied: what Redis knew before them is too old."""
        ...


class Missing(NamedTuple):
    """Changes of a shard that have to be replayed: `first` to `last`, both included.

    Of one life of PostgreSQL's data only (`Following.life`): another gives the same numbers to
    other changes.
    """

    shard: int
    first: int
    last: int
    life: int = 0


class Follower:
    """Applies news, keeps the lease, and knows what is missing.

    Args:
        memory: what is forgotten.
        flights: what is doomed.
        lease_seconds: L.

    Attributes:
        applied: how many changes were applied.
        resyncs: by cause: ``started``, ``behind``, ``new-epoch``, ``flush``, ``suspect``,
            ``lost`` (neither the log nor the outbox had what was missing), ``resubscribed``,
            ``outlived`` (a replay ended in another life of PostgreSQL's data), ``fallen-back``
            (PostgreSQL no longer has what was applied).
        on_applied: called with the shard after each change, so that it can be confirmed at once.
        watch: is told what is heard, for metrics.
        changed: called with each change, once memory has forgotten what it concerns.
    """

    def __init__(self, memory: Forgets, flights: Dooms, lease_seconds: float) -> None:
        self._memory = memory
        self._flights = flights
        self._shards = [Following(lease_seconds) for _ in range(SHARDS)]
        self.applied = 0
        self.resyncs: Counter[str] = Counter()
        self.on_applied: Callable[[int], None] | None = None
        self.watch: Watch | None = None
        self.changed: Callable[[News], None] | None = None

    def apply(self, news: News, now: float, *, live: bool = True) -> None:
        """One change: forget at once what it concerns; then the watermark moves.

        Args:
            news: the change.
            now: instant of hearing it.
            live: whether it has just been published; not what is replayed.
        """
        if not 0 <= news.shard < SHARDS:
            return
        if news.kind is not ChangeKind.EPOCH:
            self._forget(news)
            following = self._shards[news.shard]
            following.hear(news.seq, now, news.epoch)
            self._flights.reached(news.shard, following.latest)
            self.applied += 1
            if self.watch is not None and live:
                self.watch.heard(news)
            if self.changed is not None:
                self.changed(news)
        if self.on_applied is not None:
            self.on_applied(news.shard)

    def beaten(self, shard: int, sent: float, answer: Beat | None, now: float) -> Verdict:
        """What the answer to the heartbeat sent at the instant `sent` means, acted upon."""
        following = self._shards[shard]
        verdict = following.beat(sent, answer, now)
        if self.watch is not None:
            self.watch.beaten(shard, answer, verdict)
        if verdict is not Verdict.RENEWED:
            self.resyncs[verdict.name.lower().replace("_", "-")] += 1
        if verdict is Verdict.FLUSH:
            # All shards are of one life of PostgreSQL's data.
            self._forget_all()
        elif verdict is Verdict.STARTED:
            self._memory.flush_shard(shard)
            self._flights.doom_all()
        elif verdict is Verdict.NEW_EPOCH:
            self._flights.doom_all()
        self._flights.reached(shard, following.latest)
        self._memory.lease(shard, following.lease_until)
        return verdict

    def missing(self, now: float, patience: float = PATIENCE_SECONDS) -> list[Missing]:
        """What has to be replayed now."""
        found = []
        for shard, following in enumerate(self._shards):
            gap = following.missing(now, patience)
            if gap is not None:
                found.append(Missing(shard, *gap, following.life))
        return found

    def replay(self, missing: Missing, found: Iterable[News], now: float) -> bool:
        """Apply what was found of `missing`; where that is not all, forget the shard instead.

        False, and nothing is done, where PostgreSQL's data have begun another life since it was
        missing (R12): all was forgotten then, and what was found says nothing about it.
        """
        following = self._shards[missing.shard]
        if missing.life != following.life:
            self.resyncs["outlived"] += 1
            return False
        # Reads that began before may have seen the state before any of these changes (R5).
        self._flights.doom_all()
        self.resyncs["replayed"] += 1
        heard = set()
        for news in found:
            if news.shard == missing.shard:
                self.apply(news, now, live=False)
                heard.add(news.seq)
        if not heard.issuperset(range(missing.first, missing.last + 1)):
            self.resyncs["lost"] += 1
            self._memory.flush_shard(missing.shard)
            following.skip_to(missing.last)
            self._flights.reached(missing.shard, following.latest)
        return True

    def claims(self, shards: Iterable[int]) -> dict[int, Claim]:
        """What PostgreSQL must have of `shards` if it is asked from now on."""
        return {shard: self._shards[shard].claim for shard in shards}

    def compare(self, claims: Mapping[int, Claim], states: Iterable[ShardState]) -> frozenset[int]:
        """Compares `claims` with what PostgreSQL has, asked after them.

        Where it has less, its data are those of an earlier time, restored without a word: nothing
        that is known holds, and the next heartbeat begins anew.

        Returns:
            The shards of which PostgreSQL has less.
        """
        fallen = frozenset(
            state.shard
            for state in states
            if state.shard in claims
            and self._shards[state.shard].is_refuted(claims[state.shard], state.seq, state.epoch)
        )
        for shard in fallen:
            self.resyncs["fallen-back"] += 1
            following = self._shards[shard]
            following.restart()
            self._flights.reached(shard, following.latest)
            self._memory.lease(shard, following.lease_until)
        if fallen:
            self._forget_all()
        return fallen

    def resubscribed(self, shards: Iterable[int] | None = None) -> None:
        """News may have been missed: no lease until a heartbeat has said so or otherwise.

        Args:
            shards: whose news; all of them for None.
        """
        self.resyncs["resubscribed"] += 1
        self._lapse(range(SHARDS) if shards is None else shards)

    def resign(self) -> None:
        """No heartbeat will follow: nothing that is known may be used from now on."""
        self._lapse(range(SHARDS))

    def _lapse(self, shards: Iterable[int]) -> None:
        for shard in shards:
            self._shards[shard].lapse()
            self._memory.lease(shard, 0.0)

    def is_leased(self, now: float) -> bool:
        """Whether all of memory may be used at the instant `now`."""
        return now < self._memory.lease_until

    def watermark(self, shard: int) -> int | None:
        """The highest sequence applied without a gap; None before the first head."""
        return self._shards[shard].watermark

    def _forget(self, news: News) -> None:
        match news.kind:
            case ChangeKind.USER:
                self._drop(UserNeed(news.tenant, news.subject))
            case ChangeKind.ROLES:
                self._drop(RolesNeed(news.tenant))
            case ChangeKind.SESSION:
                self._drop(SessionNeed(news.payload, news.shard))
            case ChangeKind.TENANT:
                self._memory.drop_tenant(news.tenant)
                self._flights.doom_tenant(news.tenant)
            case _:
                self._forget_all()

    def _drop(self, need: Need) -> None:
        self._memory.drop(need)
        self._flights.doom(need)

    def _forget_all(self) -> None:
        self._memory.flush()
        self._flights.doom_all()
