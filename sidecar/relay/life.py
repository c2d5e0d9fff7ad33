"""Whether an open connection may go on: asked for each read, answered by memory.

A request is decided about once; a connection would be, too, if nobody looked again. So what was
found when it was decided about stands only as long as memory vouches for it (`Memory.vouch`): the
lease of its shard, no change in that shard since, nothing expired. Where that is over, it is
decided about again, on the same head: from memory at once, or, where memory lacks something, once
that is loaded; nothing passes meanwhile. So nothing has to be told to a connection for it to stop:
a change that was applied here, and a lease that lapsed (SYNC.md R13), stop it at its next read.

**What vouches for a permit was read before it was decided, or in the same step, never after**: each
look begins with `Life.before`, and where anything changed between that and the permit, nothing of
what memory holds by then vouches for it. It may hold the very fact that would have been a refusal,
loaded meanwhile for somebody else. Then it is decided about once more.

Without a lease, or without memory, facts are loaded from the stores, and stand for half a lease
from the beginning of the load. That is sound: a change that such a load did not see was committed
after it began, so its acknowledgement as `applied` either waits longer than that (R2), or for this
sidecar to apply it, which ends what stands here at once. What memory gave under a lease, or a read
that others had begun under it, stands no longer than that lease.
"""

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sidecar.authorize.permit import Permit
from sidecar.cache.leased import Vouch
from sidecar.cache.memory import Memory
from sidecar.clock import instant, wall
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.need import Need, RolesNeed, SessionNeed, TokenNeed, UserNeed
from sidecar.model.peer import Peer
from sidecar.model.reason import Reason
from sidecar.model.shard import SHARDS, shard_of

if TYPE_CHECKING:
    from sidecar.relay.reviewing import Reviewer

# On facts of a while ago (R9), which is asked again before long.
_RECALLED_SECONDS: Final = 1.0
_NO_CHANGES: Final = SHARDS


class Relayed(Protocol):
    """What a life is the life of: a WebSocket, or a response that lasts."""

    def hold(self) -> None:
        """Let nothing pass until `resume`."""

    def resume(self) -> None:
        """It may go on."""

    def renewed(self, permit: Permit) -> None:
        """It was decided about again."""

    def end(self, denial: Denial) -> None:
        """It may not go on."""

    def leave(self) -> None:
        """We are ending."""

    def cut(self) -> None:
        """End now."""


class Before(NamedTuple):
    """What was known when it began to be decided.

    Attributes:
        began: monotonic instant.
        shard: whose changes count.
        change: the count of changes.
        leased_until: monotonic instant at which the lease ends, or ended.
    """

    began: float
    shard: int
    change: int
    leased_until: float


class Life:
    """The life of one connection. It is itself what decisions are asked for (`pipeline.Asker`).

    Attributes:
        head: the request.
        peer: the client's connection.
        request_id: of the exchange.
        permit: the latest.
        relayed: whose life it is.
        credential: what was presented; None for a certificate, or nobody.
        is_queued: whether it waits to be looked at.
        is_wanted: whether facts are being loaded for it.
        held_since: monotonic instant since which nothing passes; None while it does.
        heard_at: wall-clock instant at which the change was published that it is looked at for.
        news: how many changes were heard that concern it.
        is_over: whether it has ended.
    """

    __slots__ = (
        "_is_leased",
        "_memory",
        "_reviewer",
        "_vouch",
        "_vouched_at",
        "credential",
        "head",
        "heard_at",
        "held_since",
        "is_over",
        "is_queued",
        "is_wanted",
        "news",
        "peer",
        "permit",
        "relayed",
        "request_id",
    )

    def __init__(
        self,
        reviewer: "Reviewer",
        memory: Memory,
        relayed: Relayed,
        head: RequestHead,
        peer: Peer,
        request_id: bytes,
        permit: Permit,
        credential: SessionNeed | TokenNeed | None,
    ) -> None:
        self._reviewer = reviewer
        self._memory = memory
        self.relayed = relayed
        self.head = head
        self.peer = peer
        self.request_id = request_id
        self.permit = permit
        self.credential = credential
        self._vouch: Vouch | None = None
        self._vouched_at = 0.0
        self._is_leased = False
        self.is_queued = False
        self.is_wanted = False
        self.held_since: float | None = None
        self.heard_at = 0.0
        self.news = 0
        self.is_over = False

    @property
    def shard(self) -> int:
        """Whose changes it depends on."""
        principal = self.permit.principal
        return _NO_CHANGES if principal is None else shard_of(principal.tenant)

    def stands(self) -> bool:
        """Whether what was found still holds. Hot: 0.4 µs."""
        vouch = self._vouch
        if vouch is None or not self._vouched_at <= wall() < self.permit.expires_at:
            return False
        if self._is_leased:
            return self._memory.stands(vouch, instant())
        return instant() < vouch.until and self._memory.changes(vouch.shard) == vouch.change

    def may_pass(self) -> bool:
        """Whether something may pass now. Where not, `relayed` was told to hold it, or to end."""
        if self.is_over or self.held_since is not None:
            return False
        if self.stands() or self._reviewer.review(self):
            return True
        if not self.is_over:
            self.held_since = instant()
            self._reviewer.hold(self)
            self.relayed.hold()
        return False

    def before(self) -> Before:
        """To be asked before it is decided about, and before facts are loaded for that."""
        memory, shard = self._memory, self.shard
        return Before(instant(), shard, memory.changes(shard), memory.leased_until(shard))

    def renew(self, permit: Permit, before: Before, grace_seconds: float) -> None:
        """It was decided about again, and may go on.

        Args:
            permit: the new one.
            before: as it was before the decision, or before facts were loaded for it.
            grace_seconds: how long facts of the stores stand.
        """
        was, self.permit = self.permit, permit
        self._vouch, self._is_leased = self._vouched(before, grace_seconds)
        self._vouched_at = wall()
        if permit.subject is not was.subject:
            self.relayed.renewed(permit)
        if self.held_since is not None:
            self.held_since = None
            self.relayed.resume()

    def _vouched(self, before: Before, grace_seconds: float) -> tuple[Vouch | None, bool]:
        """What vouches for the permit from now on, and whether that needs a lease."""
        memory, now, shard = self._memory, instant(), self.shard
        if shard != before.shard:
            # Changes of another tenant were counted.
            return None, False
        if self.permit.reason is Reason.LAST_KNOWN_GOOD:
            return Vouch(shard, before.change, before.began + _RECALLED_SECONDS), False
        vouch = memory.vouch(self._needs(), now)
        if vouch is not None and vouch.change == before.change and memory.stands(vouch, now):
            return vouch, True
        until = before.began + grace_seconds
        for leased_until in (before.leased_until, memory.leased_until(shard)):
            if leased_until > before.began:
                until = min(until, leased_until)
        return Vouch(shard, before.change, until), False

    def _needs(self) -> tuple[Need, ...]:
        principal = self.permit.principal
        if principal is None:
            return ()
        tenant = principal.tenant
        needs = (UserNeed(tenant, principal.subject), RolesNeed(tenant))
        return needs if self.credential is None else (self.credential, *needs)
