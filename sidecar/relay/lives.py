"""All open connections: who is concerned by a change, who is to be looked at again, and when.

An index by session, token, user and tenant. News of a change look up exactly the connections that
it concerns; they are decided about again in slices of a millisecond, those of one user before those
of a whole tenant. Beside, each connection is looked at every few seconds, so that what it depends
on is read anew before its end and never on the way of a message. What memory lacks is loaded by a
few workers for all, so that connections never starve requests; no connection has a task.

That is about being prompt, and about connections at rest. That nothing passes which may not is
asked at each read (`Life.may_pass`) and needs nothing of this.
"""

import asyncio
import heapq
import logging
import math
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from itertools import count
from typing import Final, Protocol

from sidecar.authenticate.credential import CredentialRules
from sidecar.authorize.permit import Permit
from sidecar.cache.memory import Memory
from sidecar.clock import Sweeper, instant, stopwatch, wall
from sidecar.model.change import ChangeKind
from sidecar.model.decision import Denial, Missing
from sidecar.model.head import RequestHead
from sidecar.model.need import Found, Need, SessionNeed, TokenNeed
from sidecar.model.peer import Peer
from sidecar.model.reason import STATUS, Reason
from sidecar.relay.life import Before, Life, Relayed
from sidecar.telemetry.meters import Histogram

_LOG: Final = logging.getLogger(__name__)
# Deciding again goes on for so long before others have their turn.
_SLICE_SECONDS: Final = 0.001
_TICK_SECONDS: Final = 0.25
# Each is looked at once in so many ticks: below the ten seconds that memory vouches for.
_ROUND_TICKS: Final = 32
# Of the store's connections, which are for requests.
_WORKERS: Final = 8
# Of a lease: how long facts of the stores stand (see `life`).
_GRACE: Final = 0.5
# Until a response that nobody can say about ends; WebSockets have a setting of their route.
_HOLD_SECONDS: Final = 5.0


class Heard(Protocol):
    """News of a change (`sync.keyspace.News`)."""

    @property
    def shard(self) -> int:
        """Its shard."""

    @property
    def kind(self) -> ChangeKind:
        """What it is about."""

    @property
    def tenant(self) -> str:
        """Whose."""

    @property
    def subject(self) -> str:
        """The user."""

    @property
    def payload(self) -> bytes:
        """The digest of a session's token."""

    @property
    def published_ms(self) -> int:
        """When it was published, by the publisher's clock; 0 for not at all."""


class Asker(Protocol):
    """On whose behalf a decision is made."""

    head: RequestHead
    peer: Peer
    request_id: bytes


class Decides(Protocol):
    """Who decides (`pipeline.Pipeline`)."""

    def peek(self, asker: Asker, /) -> Permit | Denial | Missing:
        """From memory."""

    async def settle(self, asker: Asker, /) -> Permit | Denial:
        """With all that memory lacks."""

    async def facts(self, missing: Missing, /) -> Mapping[Need, Found | Denial]:
        """What is missing; less where the stores do not answer."""


class Lives:
    """Knows all open connections.

    Args:
        memory: vouches.
        credentials: finds what was presented.
        decides: decides again.
        lease_seconds: how long memory may be used after a proof that the news flows.
        sweeper: calls `expire`.

    Attributes:
        lag: from the publishing of a change to the end of a connection for it, in seconds. It
            compares two wall clocks.
        deadline: of the next look (`clock.Expiring`).
    """

    def __init__(
        self,
        memory: Memory,
        credentials: CredentialRules,
        decides: Decides,
        *,
        lease_seconds: float,
        sweeper: Sweeper,
    ) -> None:
        self._memory = memory
        self._credentials = credentials
        self._decides = decides
        self._grace = _GRACE * lease_seconds
        self._sweeper = sweeper
        self._loop = asyncio.get_running_loop()
        self._all: dict[Life, None] = {}
        self._index: dict[Hashable, set[Life]] = {}
        self._due: deque[Life] = deque()
        self._is_turning = False
        self._wanted: deque[Life] = deque()
        self._unsettled: dict[Life, None] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._ends: list[tuple[float, int, Life]] = []
        self._numbers = count()
        self._round: deque[Life] = deque()
        self._each_tick = 0
        self._leaving: deque[Life] = deque()
        self._leaving_each_tick = 0
        self.lag = Histogram()
        self.deadline = self._loop.time() + _TICK_SECONDS
        sweeper.watch(self)

    def __len__(self) -> int:
        return len(self._all)

    # -- Coming and going -------------------------------------------------------------------

    def open(
        self, relayed: Relayed, head: RequestHead, peer: Peer, request_id: bytes, permit: Permit
    ) -> Life:
        """A connection was permitted, and is open."""
        life = Life(
            self,
            self._memory,
            relayed,
            head,
            peer,
            request_id,
            permit,
            self._presented(head, permit),
        )
        self._add(life)
        return life

    def replace(self, life: Life, head: RequestHead, permit: Permit) -> None:
        """Somebody showed a fresh credential: from now on the life depends on that one."""
        self._discard(life)
        life.head = head
        life.credential = self._presented(head, permit)
        self._add(life)
        life.renew(permit, life.before(), self._grace)
        self._expect_end(life)

    def close(self, life: Life) -> None:
        """The connection is gone; idempotent."""
        if life.is_over:
            return
        life.is_over = True
        self._discard(life)
        self._unsettled.pop(life, None)

    def _add(self, life: Life) -> None:
        self._all[life] = None
        for key in _keys(life):
            self._index.setdefault(key, set()).add(life)
        self._expect_end(life)

    def _discard(self, life: Life) -> None:
        self._all.pop(life, None)
        for key in _keys(life):
            concerned = self._index.get(key)
            if concerned is not None:
                concerned.discard(life)
                if not concerned:
                    del self._index[key]

    def _expect_end(self, life: Life) -> None:
        ends = life.permit.expires_at
        if ends != math.inf:
            heapq.heappush(self._ends, (ends, next(self._numbers), life))

    def _presented(self, head: RequestHead, permit: Permit) -> SessionNeed | TokenNeed | None:
        principal = permit.principal
        if principal is None or principal.credential == "certificate":
            return None
        found = self._credentials.find(head)
        return None if isinstance(found, Denial) else found

    # -- Looking again ----------------------------------------------------------------------

    def heard(self, news: Heard) -> None:
        """A change was applied to memory."""
        match news.kind:
            case ChangeKind.SESSION:
                concerned: Iterable[Life] = self._index.get(news.payload, ())
            case ChangeKind.USER:
                concerned = self._index.get((news.tenant, news.subject), ())
            case ChangeKind.ROLES | ChangeKind.TENANT:
                concerned = self._index.get(news.tenant, ())
            case ChangeKind.FLUSH:
                concerned = [life for life in self._all if life.shard == news.shard]
            case _:
                return
        published = news.published_ms / 1000 if news.published_ms > 0 else wall()
        is_of_one = news.kind in {ChangeKind.SESSION, ChangeKind.USER}
        for life in concerned:
            life.heard_at = life.heard_at or published
            self._queue(life, first=is_of_one)

    def look_at(self, life: Life) -> None:
        """Look at it soon."""
        self._queue(life)

    def _queue(self, life: Life, *, first: bool = False) -> None:
        if life.is_queued and not first:
            return
        life.is_queued = True
        if first:
            self._due.appendleft(life)
        else:
            self._due.append(life)
        if not self._is_turning:
            self._is_turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Look at some of those that are due, then let others on."""
        until = stopwatch() + _SLICE_SECONDS
        due = self._due
        while due and stopwatch() < until:
            life = due.popleft()
            if not life.is_queued or life.is_over:
                continue
            life.is_queued = False
            if life.stands():
                life.heard_at = 0.0
            else:
                self.review(life)
        if due:
            self._loop.call_soon(self._turn)
        else:
            self._is_turning = False

    def review(self, life: Life) -> bool:
        """Decide about `life` again from memory; whether it may go on.

        Where not, it has ended, or what memory lacks is being loaded.
        """
        before = life.before()
        verdict = self._decides.peek(life)
        if isinstance(verdict, Missing):
            self._want(life)
            return False
        return self._conclude(life, verdict, before)

    def _conclude(self, life: Life, verdict: Permit | Denial, before: Before) -> bool:
        if life.is_over:
            return False
        if isinstance(verdict, Permit):
            ends = life.permit.expires_at
            life.renew(verdict, before, self._grace)
            self._unsettled.pop(life, None)
            life.heard_at = 0.0
            if verdict.expires_at != ends:
                self._expect_end(life)
            return True
        if STATUS.get(verdict.reason) == 503:
            # Nobody can tell. Neither a reason to go on nor one to end, for a while.
            self._unsettled[life] = None
            return False
        self._end(life, verdict)
        return False

    def _end(self, life: Life, denial: Denial) -> None:
        if life.heard_at:
            self.lag.add(max(0.0, wall() - life.heard_at))
        self.close(life)
        life.relayed.end(denial)

    # -- Loading ----------------------------------------------------------------------------

    def _want(self, life: Life) -> None:
        if life.is_wanted:
            return
        life.is_wanted = True
        self._wanted.append(life)
        if len(self._workers) < _WORKERS:
            worker = self._loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        until = stopwatch() + _SLICE_SECONDS
        while self._wanted:
            if stopwatch() >= until:
                # What the first have loaded, memory answers for the rest: nothing waits any more.
                await asyncio.sleep(0)
                until = stopwatch() + _SLICE_SECONDS
            life = self._wanted.popleft() if self._wanted else None
            if life is None or life.is_over:
                continue
            before = life.before()
            try:
                verdict = await self._decides.settle(life)
            except Exception:  # noqa: BLE001 - whatever broke, it may not go on
                _LOG.exception("request %s could not be decided again", life.request_id)
                verdict = Denial(Reason.INTERNAL_ERROR, "an error in the decision")
            life.is_wanted = False
            self._conclude(life, verdict, before)

    async def facts(self, missing: Missing) -> Mapping[Need, Found | Denial]:
        """Load facts for a message."""
        return await self._decides.facts(missing)

    async def settle(self, asker: Asker) -> Permit | Denial:
        """Decide about a life that is not one yet: with a fresh credential."""
        return await self._decides.settle(asker)

    def shown_later(self, token: str) -> SessionNeed | TokenNeed | Denial:
        """The need of a credential that was shown on an open connection."""
        return self._credentials.shown_later(token)

    # -- Now and then -----------------------------------------------------------------------

    def expire(self) -> None:
        """Sweeper: a quarter of a second is over."""
        self.deadline = self._loop.time() + _TICK_SECONDS
        now = wall()
        while self._ends and self._ends[0][0] <= now:
            _, _, life = heapq.heappop(self._ends)
            if not life.is_over and life.permit.expires_at <= now:
                self._queue(life, first=True)
        self._look_at_unsettled()
        self._go_round()
        self._let_leave()

    def _look_at_unsettled(self) -> None:
        now = instant()
        for life in list(self._unsettled):
            policy = life.permit.route.websocket
            bound = policy.hold_seconds if policy is not None else _HOLD_SECONDS
            if life.held_since is not None and now - life.held_since >= bound:
                detail = "nobody could say whether it may go on"
                self._end(life, Denial(Reason.STORES_UNAVAILABLE, detail))
            elif not life.is_wanted:
                self._queue(life)

    def _go_round(self) -> None:
        if not self._round:
            self._round.extend(self._all)
            self._each_tick = math.ceil(len(self._round) / _ROUND_TICKS)
        for _ in range(min(self._each_tick, len(self._round))):
            life = self._round.popleft()
            if life.is_over:
                continue
            if not life.stands() and not life.is_wanted:
                self._queue(life)

    # -- Ending -----------------------------------------------------------------------------

    def drain(self, seconds: float) -> None:
        """End all, evenly over so many seconds."""
        self._leaving.extend(self._all)
        self._leaving_each_tick = math.ceil(len(self._leaving) / max(1, seconds / _TICK_SECONDS))
        self._let_leave()

    def _let_leave(self) -> None:
        for _ in range(min(self._leaving_each_tick, len(self._leaving))):
            life = self._leaving.popleft()
            if not life.is_over:
                life.relayed.leave()

    def cut(self) -> None:
        """End all now."""
        for life in list(self._all):
            life.relayed.cut()

    def retire_certified(self) -> None:
        """Other authorities vouch for certificates now: who has one has to show it anew."""
        for life in list(self._all):
            if life.peer.certificate is not None:
                life.relayed.leave()

    async def stop(self) -> None:
        """End the work; connections are left to whoever ends them."""
        self._sweeper.forget(self)
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _keys(life: Life) -> tuple[Hashable, ...]:
    principal = life.permit.principal
    if principal is None:
        return ()
    keys: tuple[Hashable, ...] = ((principal.tenant, principal.subject), principal.tenant)
    if life.credential is not None:
        # The digest of a session's token, or of a JWT.
        keys = (*keys, life.credential[0])
    return keys
