"""Deciding again about open connections, in slices of a millisecond.

Those whom a change of one user concerns go before those of a whole tenant. What memory lacks is
loaded by a few workers for all, so that connections never starve requests; no connection has a
task. Those that are held go first, and end when that has lasted too long, wherever they wait.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

from sidecar.authorize.permit import Permit
from sidecar.clock import instant, stopwatch, wall
from sidecar.model.decision import Denial, Missing
from sidecar.model.head import RequestHead
from sidecar.model.need import Found, Need
from sidecar.model.peer import Peer
from sidecar.model.reason import STATUS, Reason
from sidecar.relay.life import Before, Life
from sidecar.relay.register import Register
from sidecar.telemetry.meters import Histogram

_LOG: Final = logging.getLogger(__name__)
# Deciding again goes on for so long before others have their turn.
_SLICE_SECONDS: Final = 0.001
_BROKEN: Final = Denial(Reason.INTERNAL_ERROR, "an error in the decision")
# Of the store's connections, which are for requests.
_WORKERS: Final = 8
# Until a response that nobody can say about ends; WebSockets have a setting of their route.
_HOLD_SECONDS: Final = 5.0

# In order of coming. Unlike a deque it gives back who is gone.
_Queue = OrderedDict[Life, None]


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


class Reviewer:
    """Decides about lives again.

    Args:
        register: of all of them.
        decides: decides.
        grace_seconds: how long facts of the stores stand (see `life`).

    Attributes:
        lag: from the publishing of a change to the end of a connection for it, in seconds. It
            compares two wall clocks.
    """

    def __init__(self, register: Register, decides: Decides, grace_seconds: float) -> None:
        self._register = register
        self._decides = decides
        self._grace = grace_seconds
        self._loop = asyncio.get_running_loop()
        self._due: deque[Life] = deque()
        self._is_turning = False
        self._wanted: _Queue = OrderedDict()
        self._wanted_first: _Queue = OrderedDict()
        self._held: dict[Life, None] = {}
        self._unsettled: dict[Life, None] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self.lag = Histogram()

    # -- Soon -------------------------------------------------------------------------------

    def queue(self, life: Life, *, first: bool = False) -> None:
        """Look at it soon; before all others with `first`."""
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

    # -- Now --------------------------------------------------------------------------------

    def review(self, life: Life) -> bool:
        """Decide about `life` again from memory; whether it may go on.

        Where not, it has ended, or what memory lacks is being loaded. Never raises.
        """
        before = life.before()
        try:
            verdict = self._decides.peek(life)
            if isinstance(verdict, Missing):
                self._want(life)
                return False
            return self._conclude(life, verdict, before)
        except Exception:  # noqa: BLE001 - whatever broke, it may not go on, and others may
            self._break_down(life)
            return False

    def renew(self, life: Life, permit: Permit, before: Before) -> None:
        """It may go on, by `permit`."""
        self._held.pop(life, None)
        self._unsettled.pop(life, None)
        life.renew(permit, before, self._grace)

    def hold(self, life: Life) -> None:
        """Nothing of it passes until it is known whether that may."""
        self._held[life] = None
        if life in self._wanted:
            del self._wanted[life]
            self._wanted_first[life] = None

    def _conclude(self, life: Life, verdict: Permit | Denial, before: Before) -> bool:
        if life.is_over:
            return False
        if isinstance(verdict, Permit):
            life.heard_at = 0.0
            self.renew(life, verdict, before)
            self._register.expect_end(life)
            return not life.is_over
        if STATUS.get(verdict.reason) == 503:
            # Nobody can tell. Neither a reason to go on nor one to end, for a while.
            self._unsettled[life] = None
            return False
        self._end(life, verdict)
        return False

    def _break_down(self, life: Life) -> None:
        _LOG.exception("request %s could not be decided again", life.request_id)
        self._end(life, _BROKEN)

    def _end(self, life: Life, denial: Denial) -> None:
        if life.heard_at:
            self.lag.add(max(0.0, wall() - life.heard_at))
        self.close(life)
        if not safely(life, lambda: life.relayed.end(denial)):
            safely(life, life.relayed.cut)

    def close(self, life: Life) -> None:
        """It has ended; idempotent."""
        if life.is_over:
            return
        life.is_over = True
        self._register.discard(life)
        for waiting in (self._unsettled, self._held, self._wanted, self._wanted_first):
            waiting.pop(life, None)

    def look_at_unsettled(self) -> None:
        """Ask again about those that nobody could tell about; end those held for too long."""
        now = instant()
        for life in list(self._held):
            policy = life.permit.route.websocket
            bound = policy.hold_seconds if policy is not None else _HOLD_SECONDS
            if life.held_since is not None and now - life.held_since >= bound:
                detail = "nobody could say whether it may go on"
                self._end(life, Denial(Reason.STORES_UNAVAILABLE, detail))
        for life in list(self._unsettled):
            if not life.is_wanted:
                self.queue(life)

    # -- Once it is loaded ------------------------------------------------------------------

    def _want(self, life: Life) -> None:
        if life.is_wanted:
            return
        life.is_wanted = True
        wanted = self._wanted if life.held_since is None else self._wanted_first
        wanted[life] = None
        if len(self._workers) < _WORKERS:
            self._workers.add(self._loop.create_task(self._work()))

    async def _work(self) -> None:
        try:
            await self._work_off()
        finally:
            # Now, not by way of the loop: who comes next has to find that nobody is at work.
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _work_off(self) -> None:
        until = stopwatch() + _SLICE_SECONDS
        while (life := self._next_wanted()) is not None:
            try:
                await self._settle(life)
            except Exception:  # noqa: BLE001 - whatever broke, it may not go on
                self._break_down(life)
            if stopwatch() >= until:
                # What the first have loaded, memory answers for the rest: nothing waits any more.
                await asyncio.sleep(0)
                until = stopwatch() + _SLICE_SECONDS

    def _next_wanted(self) -> Life | None:
        wanted = self._wanted_first or self._wanted
        return wanted.popitem(last=False)[0] if wanted else None

    async def _settle(self, life: Life) -> None:
        before, head, news = life.before(), life.head, life.news
        verdict = await self._decides.settle(life)
        life.is_wanted = False
        if life.head is head:
            self._conclude(life, verdict, before)
        # Otherwise that was about a credential in whose place there is another by now.
        if not life.is_over and (life.head is not head or life.news != news):
            self.queue(life)

    async def stop(self) -> None:
        """End the work."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def safely(life: Life, act: Callable[[], None]) -> bool:
    """End one of several: a bug in it must not leave the others open. Whether it went well."""
    try:
        act()
    except Exception:  # noqa: BLE001 - see above
        _LOG.exception("request %s could not be ended in order", life.request_id)
        return False
    return True
