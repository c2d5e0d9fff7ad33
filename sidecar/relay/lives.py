"""All open connections: who is to be looked at again, and when.

News of a change look up exactly the connections that it concerns (`register`), and they are decided
about again (`reviewing`). Beside, each connection is looked at every few seconds, so that what it
depends on is read anew before its end and never on the way of a message.

That is about being prompt, and about connections at rest. That nothing passes which may not is
asked at each read (`Life.may_pass`) and needs nothing of this.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from typing import Final

from sidecar.authenticate.credential import CredentialRules
from sidecar.authorize.permit import Permit
from sidecar.cache.memory import Memory
from sidecar.clock import Sweeper, wall
from sidecar.model.change import ChangeKind
from sidecar.model.decision import Denial, Missing
from sidecar.model.head import RequestHead
from sidecar.model.need import Found, Need, SessionNeed, TokenNeed
from sidecar.model.peer import Peer
from sidecar.relay.life import Before, Life, Relayed
from sidecar.relay.register import Heard, Register
from sidecar.relay.reviewing import Asker, Decides, Reviewer, safely

_TICK_SECONDS: Final = 0.25
# Each is looked at once in so many ticks: below the ten seconds that memory vouches for.
_ROUND_TICKS: Final = 32
# Of a lease: how long facts of the stores stand (see `life`).
_GRACE: Final = 0.5


class Lives:
    """Knows all open connections.

    Args:
        memory: vouches.
        credentials: finds what was presented.
        decides: decides again.
        lease_seconds: how long memory may be used after a proof that the news flows.
        sweeper: calls `expire`.

    Attributes:
        lag: of ends behind the changes that they come from (`Reviewer.lag`).
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
        self._sweeper = sweeper
        self._now = asyncio.get_running_loop().time
        self._register = Register()
        self._reviewer = Reviewer(self._register, decides, _GRACE * lease_seconds)
        self._round: deque[Life] = deque()
        self._each_tick = 0
        self._leaving: deque[Life] = deque()
        self._leaving_each_tick = 0
        self.lag = self._reviewer.lag
        self.deadline = self._now() + _TICK_SECONDS
        sweeper.watch(self)

    def __len__(self) -> int:
        return len(self._register)

    # -- Coming and going -------------------------------------------------------------------

    def open(
        self, relayed: Relayed, head: RequestHead, peer: Peer, request_id: bytes, permit: Permit
    ) -> Life:
        """A connection was permitted, and is open. It is looked at soon."""
        life = Life(
            self._reviewer,
            self._memory,
            relayed,
            head,
            peer,
            request_id,
            permit,
            self._presented(head, permit),
        )
        self._register.add(life)
        # What was heard since it was permitted concerned nobody yet.
        self._reviewer.queue(life)
        return life

    def replace(self, life: Life, head: RequestHead, permit: Permit, before: Before) -> None:
        """Somebody showed a fresh credential: from now on the life depends on that one.

        Args:
            life: the life.
            head: with the credential.
            permit: what it gives.
            before: as it was before that was decided (`Life.before`).
        """
        self._register.discard(life)
        life.head = head
        life.credential = self._presented(head, permit)
        self._register.add(life)
        self._reviewer.renew(life, permit, before)
        self._register.expect_end(life)
        # News about the credential were nobody's until now.
        self._reviewer.queue(life)

    def close(self, life: Life) -> None:
        """The connection is gone; idempotent."""
        self._reviewer.close(life)

    def _presented(self, head: RequestHead, permit: Permit) -> SessionNeed | TokenNeed | None:
        principal = permit.principal
        if principal is None or principal.credential == "certificate":
            return None
        found = self._credentials.find(head)
        return None if isinstance(found, Denial) else found

    # -- Looking again ----------------------------------------------------------------------

    def heard(self, news: Heard) -> None:
        """A change was applied to memory."""
        published = news.published_ms / 1000 if news.published_ms > 0 else wall()
        is_of_one = news.kind in {ChangeKind.SESSION, ChangeKind.USER}
        for life in self._register.concerned(news):
            life.heard_at = life.heard_at or published
            life.news += 1
            self._reviewer.queue(life, first=is_of_one)

    def expire(self) -> None:
        """Sweeper: a quarter of a second is over."""
        self.deadline = self._now() + _TICK_SECONDS
        for life in self._register.ended(wall()):
            self._reviewer.queue(life, first=True)
        self._reviewer.look_at_unsettled()
        self._go_round()
        self._let_leave()

    def _go_round(self) -> None:
        if not self._round:
            self._round.extend(self._register)
            self._each_tick = math.ceil(len(self._round) / _ROUND_TICKS)
        for _ in range(min(self._each_tick, len(self._round))):
            life = self._round.popleft()
            if life.is_over:
                continue
            if not life.stands() and not life.is_wanted:
                self._reviewer.queue(life)

    # -- For sessions -----------------------------------------------------------------------

    async def facts(self, missing: Missing) -> Mapping[Need, Found | Denial]:
        """Load facts for a message."""
        return await self._decides.facts(missing)

    async def settle(self, asker: Asker) -> Permit | Denial:
        """Decide about a life that is not one yet: with a fresh credential."""
        return await self._decides.settle(asker)

    def shown_later(self, token: str) -> SessionNeed | TokenNeed | Denial:
        """The need of a credential that was shown on an open connection."""
        return self._credentials.shown_later(token)

    # -- Ending -----------------------------------------------------------------------------

    def drain(self, seconds: float) -> None:
        """End all, evenly over so many seconds."""
        self._leaving.extend(self._register)
        self._leaving_each_tick = math.ceil(len(self._leaving) / max(1, seconds / _TICK_SECONDS))
        self._let_leave()

    def _let_leave(self) -> None:
        for _ in range(min(self._leaving_each_tick, len(self._leaving))):
            life = self._leaving.popleft()
            if not life.is_over:
                safely(life, life.relayed.leave)

    def cut(self) -> None:
        """End all now."""
        for life in list(self._register):
            safely(life, life.relayed.cut)

    def retire_certified(self) -> None:
        """Other authorities vouch for certificates now: who has one has to show it anew."""
        for life in list(self._register):
            if life.peer.certificate is not None:
                safely(life, life.relayed.leave)

    async def stop(self) -> None:
        """End the work; connections are left to whoever ends them."""
        self._sweeper.forget(self)
        await self._reviewer.stop()
