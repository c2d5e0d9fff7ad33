"""R11: a decision needs a lease on every shard it depends on.

One sidecar and two shards, each followed by itself: Redis may serve heartbeats for one of them and
not for the other, and messages of one may be lost. A request depends on a fact of each. The
machines are the product's `Follower` and `Memory`, built for each event.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sidecar.cache.following import Beat
from sidecar.cache.memory import Memory
from sidecar.model.change import ChangeKind
from sidecar.model.facts import User
from sidecar.model.need import Need, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache
from sidecar.sync.follower import Follower
from sidecar.sync.keyspace import News
from tests.model.rules import LEASE_TICKS, L
from tests.model.sidecar import NOW, SLOTS, still

NEEDS: Final = (UserNeed("acme", "eve"), UserNeed("globex", "eve"))
SHARDS: Final = tuple(shard_of(need.tenant) for need in NEEDS)
_CHANGES: Final = 1
assert len(set(SHARDS)) == len(SHARDS)


class Moment(NamedTuple):
    """Everything at one moment; each tuple has a place for each shard.

    Attributes:
        followings: the slots of the sidecar's `Following`.
        memory: the version that memory holds; None for nothing.
        heads: what Redis was told.
        published: ticks since then; None before.
        wrong: what a request was answered, if it must not have been.
    """

    followings: tuple[tuple[object, ...], ...]
    memory: tuple[int | None, ...]
    heads: tuple[int, ...] = (0, 0)
    published: tuple[int | None, ...] = (None, None)
    wrong: str = ""


class _NoFlights:
    """Nothing is being read."""

    def doom(self, need: Need) -> None: ...

    def doom_tenant(self, tenant: str) -> None: ...

    def doom_all(self) -> None: ...

    def reached(self, shard: int, seq: int) -> None: ...


class TwoShards:
    """A model for the explorer.

    Args:
        memory: the product's, or one that keeps R11 less strictly.
    """

    def __init__(self, memory: type[Memory]) -> None:
        self._kind = memory

    def initial(self) -> Moment:
        """Both shards are followed, and both facts are known."""
        memory, follower = self._new()
        for _ in range(2):
            for shard in SHARDS:
                follower.beaten(shard, NOW, Beat(0, 1, ""), NOW)
        for need in NEEDS:
            memory.put(need, User(version=0, tenant=need.tenant, subject=need.subject), NOW)
        return self._taken_apart(Moment((), ()), memory, follower)

    def steps(self, moment: Moment) -> Iterator[tuple[str, Moment]]:
        """What may happen next."""
        if moment.wrong:
            return
        for at, need in enumerate(NEEDS):
            if moment.heads[at] < _CHANGES:
                heads, published = list(moment.heads), list(moment.published)
                heads[at], published[at] = 1, 0
                yield (
                    f"{need.tenant} is revoked and published",
                    moment._replace(heads=tuple(heads), published=tuple(published)),
                )
            else:
                yield f"the news of {need.tenant} arrives", self._heard(moment, at)
            yield f"a heartbeat for the shard of {need.tenant}", self._beaten(moment, at)
        yield "a request comes", self._asked(moment)
        yield "half a lease passes", self._later(moment)

    def fault(self, moment: Moment) -> str:
        """Promise 14."""
        return moment.wrong

    def _asked(self, moment: Moment) -> Moment:
        """Answered from memory only where it knows all that it depends on."""
        memory, _ = self._built(moment)
        found = [memory.find(need, NOW) for need in NEEDS]
        for fact, need, since in zip(found, NEEDS, moment.published, strict=True):
            late = since is not None and since >= LEASE_TICKS
            if late and None not in found and isinstance(fact, User) and fact.version == 0:
                return moment._replace(
                    wrong=f"a request depends on {need.tenant}, revoked longer ago than a lease "
                    "lasts (promise 14)"
                )
        return moment

    def _heard(self, moment: Moment, at: int) -> Moment:
        memory, follower = self._built(moment)
        need = NEEDS[at]
        news = News(1, SHARDS[at], 1, ChangeKind.USER, need.tenant, need.subject, 1, b"")
        follower.apply(news, NOW)
        return self._taken_apart(moment, memory, follower)

    def _beaten(self, moment: Moment, at: int) -> Moment:
        memory, follower = self._built(moment)
        follower.beaten(SHARDS[at], NOW, Beat(moment.heads[at], 1, ""), NOW)
        return self._taken_apart(moment, memory, follower)

    def _later(self, moment: Moment) -> Moment:
        """Time moves away from leases; what is older than a lease stays so."""
        memory, follower = self._built(moment)
        for shard in SHARDS:
            following = follower._shards[shard]
            following.lease_until = max(NOW, round(following.lease_until - 1, 3))
            memory.lease(shard, following.lease_until)
        published = tuple(
            None if each is None else min(each + 1, LEASE_TICKS) for each in moment.published
        )
        return self._taken_apart(moment._replace(published=published), memory, follower)

    def _new(self) -> tuple[Memory, Follower]:
        memory = self._kind(Cache(), jitter=lambda: 0.5)
        return memory, Follower(memory, _NoFlights(), L)

    def _built(self, moment: Moment) -> tuple[Memory, Follower]:
        memory, follower = self._new()
        for shard, need, slots, version in zip(
            SHARDS, NEEDS, moment.followings, moment.memory, strict=True
        ):
            following = follower._shards[shard]
            for slot, kept in zip(SLOTS, slots, strict=True):
                setattr(following, slot, dict(kept) if isinstance(kept, frozenset) else kept)
            if version is not None:
                fact = User(version=version, tenant=need.tenant, subject=need.subject)
                memory.put(need, fact, NOW)
        for shard in SHARDS:
            memory.lease(shard, follower._shards[shard].lease_until)
        return memory, follower

    @staticmethod
    def _taken_apart(moment: Moment, memory: Memory, follower: Follower) -> Moment:
        return moment._replace(
            followings=tuple(still(follower._shards[shard]) for shard in SHARDS),
            memory=tuple(0 if _holds(memory, need) else None for need in NEEDS),
        )


def _holds(memory: Memory, need: UserNeed) -> bool:
    """Whether it holds anything, leased or not."""
    return memory._regions.users.peek(need) is not None
