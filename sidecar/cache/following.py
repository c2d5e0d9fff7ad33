"""Whether memory may be trusted: what one sidecar knows of one shard's news (SYNC.md).

A value machine: it is told what arrived and when, and says what that means. Three facts make a
lease sound. Sequences are given by PostgreSQL without gaps, in the order of commits. A heartbeat
is served by Redis after every change that reached Redis before it, so its head is at least theirs.
And the lease counts from the time of sending. So a sidecar whose watermark is below a sequence
holds only leases that were sent before that sequence reached Redis, and none that lasts longer than
one lease after.

Losing a message therefore costs time, never truth: pub/sub only makes revocation fast.
"""

from enum import Enum
from typing import Final, NamedTuple


class Beat(NamedTuple):
    """What Redis answered to a heartbeat.

    Attributes:
        head: the highest sequence Redis was told.
        epoch: the life of its content, chosen by PostgreSQL (R1).
        incarnation: the life of PostgreSQL's data, with its timeline (R12).
    """

    head: int
    epoch: int
    incarnation: str


class Claim(NamedTuple):
    """What PostgreSQL must have, if its data are still those whose news were followed.

    Attributes:
        life: see `Following.life`.
        seq: that was applied, or that Redis had.
        epoch: that was chosen.
    """

    life: int
    seq: int
    epoch: int


class Verdict(Enum):
    """What a heartbeat means.

    The caller acts on it: `STARTED` and `FLUSH` forget all facts of the shard, and they and
    `NEW_EPOCH` doom all reads in flight (R5).
    """

    STARTED = "the first head after the start: what is loaded from now on is covered"
    RENEWED = "all that Redis knew was applied: the lease is renewed"
    BEHIND = "something is missing: replay it"
    NEW_EPOCH = "the content of Redis began a new life; memory stays, reads in flight do not"
    FLUSH = "PostgreSQL's data began a new life: nothing that is known holds"
    SUSPECT = "Redis cannot vouch for its content: no lease"


class Following:
    """The news of one shard, as far as one sidecar has applied it.

    Args:
        lease_seconds: L, how long memory may be used after a heartbeat was sent. The margin for
            clocks that run at different rates is taken off here (R10).

    Attributes:
        watermark: highest sequence applied without a gap; None before the first head.
        epoch: of the last heartbeat.
        incarnation: of the last heartbeat.
        lease_until: instant until which facts of the shard may be used.
        life: counts the lives of PostgreSQL's data that were followed: what was asked for in
            one says nothing about the next (R12).
    """

    __slots__ = (
        "_behind_since",
        "_early",
        "_head",
        "_highest",
        "_lease",
        "epoch",
        "incarnation",
        "lease_until",
        "life",
        "watermark",
    )

    # Clocks of two machines differ in rate by far less than this (R10).
    MARGIN: Final = 0.05

    def __init__(self, lease_seconds: float) -> None:
        self._lease = lease_seconds * (1 - self.MARGIN)
        # Sequence -> the epoch it was heard in; 0 for what PostgreSQL itself told.
        self._early: dict[int, int] = {}
        # The last of those, kept as a number: looking for it for each of thousands takes seconds.
        self._highest = 0
        self._head = 0
        self._behind_since: float | None = None
        self.watermark: int | None = None
        self.epoch: int | None = None
        self.incarnation = ""
        self.lease_until = 0.0
        self.life = 0

    @property
    def latest(self) -> int:
        """The highest sequence applied, with or without a gap before it."""
        return max(self.watermark or 0, self._highest)

    def hear(self, seq: int, now: float, epoch: int = 0) -> None:
        """A change was applied, from pub/sub or a replay, in any order and any number of times.

        Applying a change means forgetting, which is right in any order; only the watermark waits
        for what is missing.

        Args:
            seq: of the change.
            now: instant of hearing it.
            epoch: it was published in; 0 where it comes from PostgreSQL. News of another epoch do
                not move the watermark: they may be of a life of PostgreSQL's data that was ended
                by a restore, which gives sequences a second time (R12).
        """
        if self.watermark is None:
            # It may be newer than the head that the first heartbeat is about to bring.
            self._keep_early(seq, epoch)
            return
        if epoch not in {0, self.epoch}:
            return
        if seq > self.watermark + 1:
            self._keep_early(seq, epoch)
            if self._behind_since is None:
                self._behind_since = now
            return
        self._advance(max(seq, self.watermark))

    def beat(self, sent: float, answer: Beat | None, now: float) -> Verdict:
        """The answer to the heartbeat that was sent at the instant `sent`; None for "suspect"."""
        if answer is None:
            return Verdict.SUSPECT
        if self.watermark is None:
            self._begin(answer)
            return Verdict.STARTED
        if answer.incarnation != self.incarnation or self._fell_back(answer):
            self.restart()
            self._begin(answer)
            return Verdict.FLUSH
        if self.epoch is not None and answer.epoch < self.epoch:
            # PostgreSQL chooses epochs in ascending order: a master that was replaced answered.
            return Verdict.SUSPECT
        if answer.epoch != self.epoch:
            self.epoch = answer.epoch
            self._head = answer.head
            return Verdict.NEW_EPOCH
        if answer.head < self._head:
            # Within one epoch Redis never forgets; this one did. (A watermark above the head is no
            # such sign: the message may have overtaken the answer.)
            return Verdict.SUSPECT
        self._head = answer.head
        if self.watermark < answer.head:
            if self._behind_since is None:
                self._behind_since = now
            return Verdict.BEHIND
        self.lease_until = max(self.lease_until, sent + self._lease)
        return Verdict.RENEWED

    def missing(self, now: float, patience: float) -> tuple[int, int] | None:
        """The first and last sequence to replay, once they are missing longer than `patience`.

        Messages that overtake each other are no reason to ask anybody.
        """
        if self.watermark is None or self._behind_since is None:
            return None
        if now - self._behind_since < patience:
            return None
        last = min(self._early) - 1 if self._early else self._head
        return (self.watermark + 1, last) if last > self.watermark else None

    def skip_to(self, seq: int) -> None:
        """The caller has forgotten all facts of the shard: nothing up to `seq` matters any more.

        But for what neither Redis nor its messages told of: what this process wrote may have been
        in a life of PostgreSQL's data that was ended by a restore (R12).
        """
        self._early = {each: epoch for each, epoch in self._early.items() if epoch}
        self._highest = max(self._early, default=0)
        known = max(self._head, self._highest)
        self._advance(max(min(seq, known), self.watermark or 0))

    @property
    def claim(self) -> Claim:
        """What PostgreSQL must have if it is asked from now on."""
        return Claim(self.life, self._known, self.epoch or 0)

    def is_refuted(self, claim: Claim, seq: int, epoch: int) -> bool:
        """Whether PostgreSQL, asked after `claim`, no longer has what was followed.

        It chooses sequences and epochs in ascending order, before anybody hears of them: less than
        is known here means that its data are those of an earlier time.

        Args:
            claim: from before it was asked.
            seq: that it has.
            epoch: that it has.
        """
        return claim.life == self.life and (seq < claim.seq or epoch < claim.epoch)

    def restart(self) -> None:
        """Nothing that is known holds; the next heartbeat begins as after a start."""
        self.life += 1
        # Sequences of another life may begin lower, so what was early says nothing either.
        self._early = {}
        self._highest = 0
        self._head = 0
        self._behind_since = None
        self.watermark = None
        self.epoch = None
        self.incarnation = ""
        self.lease_until = 0.0

    def lapse(self) -> None:
        """End the lease now; the next heartbeat may renew it."""
        self.lease_until = 0.0

    @property
    def _known(self) -> int:
        """The highest sequence that was applied, or that Redis had."""
        return max(self.watermark or 0, self._head)

    def _fell_back(self, answer: Beat) -> bool:
        """Whether a later epoch begins before what is known.

        An epoch begins with all that PostgreSQL has. (What this process wrote itself a moment ago
        may be above, and costs what is in memory.)
        """
        return answer.epoch > (self.epoch or 0) and answer.head < self._known

    def _begin(self, answer: Beat) -> None:
        early = self._early.items()
        self._early = {seq: epoch for seq, epoch in early if epoch in {0, answer.epoch}}
        self._highest = max(self._early, default=0)
        self.epoch = answer.epoch
        self.incarnation = answer.incarnation
        self._head = answer.head
        self._behind_since = None
        self._advance(answer.head)

    def _keep_early(self, seq: int, epoch: int) -> None:
        self._early[seq] = epoch
        self._highest = max(self._highest, seq)

    def _advance(self, seq: int) -> None:
        early = self._early
        if early:
            if seq == (self.watermark or 0) + 1:
                early.pop(seq, None)
            else:
                # A leap: what lies below is of no more interest.
                early = self._early = {each: epoch for each, epoch in early.items() if each > seq}
            while seq + 1 in early:
                seq += 1
                del early[seq]
        self.watermark = seq
        if not self._early and seq >= self._head:
            self._behind_since = None
