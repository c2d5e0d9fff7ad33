"""Loads ahead, off the path of requests: what will be needed, or was in use and has changed.

Three occasions, one budget, and none of them while the stores fail or without a lease:

- *Prediction*: a session that memory has lost is asked for; whose it is was seen before, so its
  user and role graph are read at the same time, and the request waits for one round instead of two.
- *Sign-in*: the session that was just issued, its user and role graph. Only this sidecar's memory
  is warmed: the reads fill Redis, so a sibling that gets the next request finds them there and
  need not be told.
- *Change*: what was in use and is forgotten because of news is read again within
  `revalidate_seconds`, so that mostly no request pays for a change. The moment is chance's, so
  that of a fleet the first few ask PostgreSQL and the others find in Redis what those brought.
  Sessions are left out: news about them is their end.

The reads are flights like any other (`Tiers.anticipate`): news dooms them, and what they bring is
as valid as anything else in memory.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from sidecar.cache.foresight import Budget, Foresight
from sidecar.cache.memory import Memory
from sidecar.model.decision import Denial
from sidecar.model.facts import Session
from sidecar.model.need import Found, Need, RolesNeed, SessionNeed, StoreNeed, UserNeed
from sidecar.settings.schema import Cache
from sidecar.sync.cancellation import heed_cancellation

# A request that made us predict has ended by then: loading is bounded by less than a lease.
_JUDGED_AFTER_SECONDS: Final = 2.0
_JUDGE_SECONDS: Final = 0.5
# Nothing is loaded ahead for so long after a read that failed.
_REST_SECONDS: Final = 1.0
# Changes waiting for their moment; beyond, whoever asks loads.
_MOST_CHANGED: Final = 500


@lru_cache(maxsize=1000)
def _roles_of(tenant: str) -> RolesNeed:
    """One object, and one name, for all sessions of a tenant."""
    return RolesNeed(tenant)


class Ahead(Protocol):
    """Who reads (`Tiers`)."""

    def anticipate(self, need: StoreNeed, /) -> bool:
        """Starts a read where that is of use; tells whether it did."""
        ...


class _Guess(NamedTuple):
    """A prediction that is not judged yet."""

    context: SessionNeed
    successor: StoreNeed
    judged_at: float


class Anticipation:
    """Loads ahead.

    Args:
        memory: says what is known and used.
        ahead: reads.
        cache: bounds.
        instant: the clock of leases.
        wall: the clock of expiries.
        chance: evenly distributed numbers in [0, 1).
        predicts: feature ``prediction``.

    Attributes:
        counts: reads that were started because of a ``prediction``, ``sign-in`` or ``change``;
            what became of predictions (``prediction-used``, ``prediction-unused``); what was not
            read (``refused-budget``), since the start.
    """

    def __init__(
        self,
        memory: Memory,
        ahead: Ahead,
        cache: Cache,
        *,
        instant: Callable[[], float],
        wall: Callable[[], float],
        chance: Callable[[], float],
        predicts: bool = True,
    ) -> None:
        self._memory = memory
        self._ahead = ahead
        self._instant = instant
        self._wall = wall
        self._chance = chance
        self._predicts = predicts
        self._spread = cache.revalidate_seconds
        self._foresight = Foresight(cache.foresight)
        self._budget = Budget(cache.anticipated_per_second)
        # Guesses by what was guessed; at most the budget of the time until they are judged.
        self._guesses: dict[StoreNeed, _Guess] = {}
        self._unjudged: deque[_Guess] = deque()
        self._changed: set[StoreNeed] = set()
        self.counts: Counter[str] = Counter()

    def asked(self, need: StoreNeed) -> None:
        """A request asks for `need`, which memory lacks: what comes next is read at once."""
        guess = self._guesses.pop(need, None)
        if guess is not None:
            self._right(guess)
        if self._predicts and isinstance(need, SessionNeed):
            for successor in self._foresight.successors(need):
                self._guess(need, successor)

    def landed(self, need: StoreNeed, fact: Found | Denial) -> None:
        """A store answered: of sessions that are valid it is remembered whose they are."""
        if not self._predicts or not isinstance(need, SessionNeed):
            return
        if not isinstance(fact, Session) or not self._is_valid(fact):
            self._foresight.forget(need)
            return
        roles = _roles_of(fact.tenant)
        successors = (UserNeed(roles.tenant, fact.subject), roles)
        # Where this was guessed, use will tell whether it is so.
        self._foresight.learn(need, [each for each in successors if not self._guessed(need, each)])

    def failed(self) -> None:
        """No store answered: they are left alone for a while."""
        self._budget.rest(self._instant() + _REST_SECONDS)

    def signed_in(self, needs: Iterable[StoreNeed]) -> None:
        """Somebody has signed in, whose next request will need these."""
        for need in needs:
            self._load("sign-in", need)

    def changed(self, needs: Iterable[StoreNeed]) -> None:
        """These were in use and are forgotten because they have changed."""
        loop = asyncio.get_running_loop()
        for need in needs:
            if need not in self._changed and len(self._changed) < _MOST_CHANGED:
                self._changed.add(need)
                loop.call_later(self._chance() * self._spread, self._revalidate, need)

    async def run(self) -> None:
        """Judges predictions; never returns."""
        while True:
            heed_cancellation()
            await asyncio.sleep(_JUDGE_SECONDS)
            self.judge()

    def judge(self) -> None:
        """Tell right guesses from wrong ones, where it is time."""
        now = self._instant()
        while self._unjudged and self._unjudged[0].judged_at <= now:
            guess = self._unjudged.popleft()
            if self._guesses.get(guess.successor) is not guess:
                continue  # asked for while it was read
            del self._guesses[guess.successor]
            if self._memory.is_used(guess.successor, now):
                self._right(guess)
            else:
                self.counts["prediction-unused"] += 1
                self._foresight.wrong(guess.context, guess.successor)

    def _guess(self, context: SessionNeed, successor: StoreNeed) -> None:
        if successor in self._guesses or not self._load("prediction", successor):
            return
        self._memory.forget_use(successor)
        guess = _Guess(context, successor, self._instant() + _JUDGED_AFTER_SECONDS)
        self._guesses[successor] = guess
        self._unjudged.append(guess)

    def _right(self, guess: _Guess) -> None:
        self.counts["prediction-used"] += 1
        self._foresight.learn(guess.context, (guess.successor,))

    def _guessed(self, context: SessionNeed, successor: StoreNeed) -> bool:
        guess = self._guesses.get(successor)
        return guess is not None and guess.context == context

    def _is_valid(self, session: Session) -> bool:
        return session.revoked_at is None and self._wall() < session.expires_at

    def _revalidate(self, need: StoreNeed) -> None:
        self._changed.discard(need)
        self._load("change", need)

    def _load(self, cause: str, need: StoreNeed) -> bool:
        now = self._instant()
        if self._memory.knows(need, now):
            return False
        if not self._budget.take(now):
            self.counts["refused-budget"] += 1
            return False
        started = self._ahead.anticipate(need)
        self.counts[cause] += started
        return started


class Revalidating:
    """The memory, as the news sees it (`sync.follower.Forgets`): what was in use is not lost.

    Args:
        memory: what forgets.
        changed: is told what was in use (`Anticipation.changed`).
        instant: the clock of leases.
    """

    def __init__(
        self,
        memory: Memory,
        changed: Callable[[Iterable[StoreNeed]], None],
        *,
        instant: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._changed = changed
        self._instant = instant
        self.lease = memory.lease
        self.flush = memory.flush
        self.flush_shard = memory.flush_shard

    @property
    def lease_until(self) -> float:
        """Until when facts of all shards may be used."""
        return self._memory.lease_until

    def drop(self, need: Need) -> None:
        """Forget one fact."""
        used = self._is_used(need)
        self._memory.drop(need)
        self._changed(used)

    def drop_tenant(self, tenant: str) -> None:
        """Forget all users and the role graph of a tenant; users are too many to be read again."""
        used = self._is_used(RolesNeed(tenant))
        self._memory.drop_tenant(tenant)
        self._changed(used)

    def _is_used(self, need: Need) -> tuple[StoreNeed, ...]:
        if isinstance(need, UserNeed | RolesNeed) and self._memory.is_used(need, self._instant()):
            return (need,)
        return ()
