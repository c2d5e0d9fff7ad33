"""One Redis: what its scripts do in one step, as values."""

from typing import Final, NamedTuple

from sidecar.cache.following import Beat
from tests.model.rules import LONGEST, OLD, Rules

NOTHING: Final = -1
# A master in good standing accepts writes without an end.
EVER: Final = 99
FIRST_LIFE: Final = 1


class Member(NamedTuple):
    """A sidecar's last heartbeat as Redis keeps it (`Confirmation`, with its age in ticks)."""

    member: int
    watermark: int
    epoch: int
    age: int


class Server(NamedTuple):
    """One process and its content.

    Attributes:
        run: identity of the process.
        stored: the identity that its content was established by; 0 after a flush.
        epoch: of its content; 0 after a flush.
        head: the highest sequence it was told.
        value: the version of the subject it holds, or `NOTHING`.
        members: heartbeats, without those that are older than any lease.
        writable: ticks for which it goes on accepting writes.
        mark: changes whenever the content is forgotten.
        begun: ticks since its epoch began here.
        incarnation: of PostgreSQL's that its content speaks of.
    """

    run: int
    stored: int
    epoch: int
    head: int
    value: int
    members: tuple[Member, ...] = ()
    writable: int = EVER
    mark: int = 0
    begun: int = OLD
    incarnation: int = FIRST_LIFE

    @property
    def life(self) -> tuple[int, ...]:
        """What changes whenever the content is forgotten, begun anew or taken over."""
        return self.run, self.stored, self.epoch, self.mark

    @property
    def beat(self) -> Beat:
        """What it answers to a heartbeat."""
        return Beat(self.head, self.epoch, str(self.incarnation))

    def vouches(self, rules: Rules) -> bool:
        """R1: whether the content belongs to this process's life."""
        return not rules.r1_scripts or (self.epoch > 0 and self.stored == self.run)

    def flushed(self) -> "Server":
        """Forgets everything, as FLUSHALL or an empty restart do."""
        return Server(self.run, 0, 0, 0, NOTHING, (), self.writable, self.mark + 1)

    def without(self, member: int) -> "Server":
        """`member` has signed off."""
        return self._replace(members=tuple(each for each in self.members if each.member != member))

    def aged(self) -> "Server":
        """After one more tick."""
        members = tuple(
            each._replace(age=each.age + 1) for each in self.members if each.age + 1 <= LONGEST
        )
        return self._replace(
            members=members,
            writable=self.writable - (0 < self.writable < EVER),
            begun=min(self.begun + 1, OLD),
        )


def serve_heartbeat(
    server: Server, member: int, watermark: int, rules: Rules
) -> tuple[Server, Beat | None]:
    """Stores id and watermark, returns head, epoch and incarnation; None for "suspect" (R1)."""
    if not server.vouches(rules):
        return server, None
    others = tuple(each for each in server.members if each.member != member)
    members = tuple(sorted((*others, Member(member, watermark, server.epoch, 0))))
    return server._replace(members=members), server.beat


def invalidate(
    server: Server,
    seqs: tuple[int, ...],
    life: tuple[int, int],
    concerns: tuple[bool, ...],
    rules: Rules,
) -> Server | None:
    """Deletes, raises the head, publishes; None where it refuses.

    Args:
        server: the one that is told.
        seqs: which changes.
        life: epoch and incarnation they were read in (R1, R12).
        concerns: which changes concern the subject.
        rules: whether these are kept.
    """
    epoch, incarnation = life
    if not server.vouches(rules) or (rules.r1_scripts and server.epoch != epoch):
        return None
    if rules.r12_scripts and server.incarnation != incarnation:
        return None
    if rules.r3 and seqs[0] > server.head + 1:
        return None
    new = [seq for seq in seqs if seq > server.head or not rules.r3]
    touched = any(concerns[seq - 1] for seq in new)
    return server._replace(
        head=max(server.head, seqs[-1]), value=NOTHING if touched else server.value
    )


def establish(server: Server, epoch: int, seq: int, incarnation: int) -> Server | None:
    """R1: begins a new life of the content; None where the epoch is known or outdated."""
    if server.stored == server.run and (server.epoch, server.head) >= (epoch, seq):
        return None
    if server.epoch > epoch:
        return None
    return server._replace(
        stored=server.run,
        epoch=epoch,
        head=seq,
        value=NOTHING,
        members=(),
        begun=0,
        incarnation=incarnation,
    )


def fill(server: Server, version: int, head: int, epoch: int, rules: Rules) -> Server | None:
    """R4: stores what PostgreSQL answered after a miss, unless head or epoch have changed."""
    if not server.vouches(rules):
        return None
    if rules.r4 and (server.head, server.epoch) != (head, epoch):
        return None
    return server._replace(value=version)
