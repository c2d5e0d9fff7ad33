"""The rules of the protocol (SYNC.md) as switches of the modelled world, never of the product."""

from typing import Final, NamedTuple

from sidecar.cache.acknowledgement import Bounds
from sidecar.cache.following import Following

# Time runs in ticks of about half a lease. With L = 1.9 both ends of R10's margin round to the
# same tick: a lease covers the tick it was sent in and the next one, and two ticks after somebody's
# last sign nobody waits for it any more. There is no slack for a fault to hide in.
L: Final = 1.9
LEASE_TICKS: Final = 2
D: Final = 1
BOUNDS: Final = Bounds(lease=L, isolation=D)
LONGEST: Final = L * (1 + Following.MARGIN)
# From this age on all ages mean the same.
OLD: Final = LEASE_TICKS + D


class Rules(NamedTuple):
    """Which rules the world keeps. Each is a rule of SYNC.md, or one of several things it demands.

    Attributes:
        r1_scripts: each script compares the stored identity and the epoch before anything else.
        r1_carried: a writer carries the epoch its own transaction read, none it knew before.
        r1_fresh: a script that begins an epoch is refused when Redis's content is not in the very
            life that the relay saw when it decided.
        r2_waits: `standing` is asked; else a head that reached the sequence is `applied`.
        r2_members: `standing` is told who the members are.
        r2_epoch_age: `standing` is told how young the epoch is.
        r2_begun: an epoch is no older than Redis has known it, however long ago it was chosen.
        r2_leave: who signs off has given up its lease before.
        r2_write: who asks Redis how far a change has come asks with a write, as heartbeats do, so
            that an isolated master answers no longer than D.
        r3: Redis is told contiguously; else each writer tells its own change alone.
        r4: a fill of Redis is refused unless head and epoch are those of its miss.
        r5_start: the first head dooms reads in flight.
        r5_flush: so does forgetting everything because a replay found nothing.
        r6_doom: an invalidation dooms the read in flight.
        r6_share: without a lease nobody joins a read that has started.
        r6_news: a value from a Redis whose head is below news already heard is a miss.
        r7: a replacement has an id of its own.
        r8: Redis is read only under the lease.
        r12_scripts: writers, relays and who asks for an acknowledgement compare incarnations.
        r12_news: news of another incarnation does not move the watermark.
        r12_replay: a replay that began in another life of PostgreSQL's data does nothing.
    """

    r1_scripts: bool = True
    r1_carried: bool = True
    r1_fresh: bool = True
    r2_waits: bool = True
    r2_members: bool = True
    r2_epoch_age: bool = True
    r2_begun: bool = True
    r2_leave: bool = True
    r2_write: bool = True
    r3: bool = True
    r4: bool = True
    r5_start: bool = True
    r5_flush: bool = True
    r6_doom: bool = True
    r6_share: bool = True
    r6_news: bool = True
    r7: bool = True
    r8: bool = True
    r12_scripts: bool = True
    r12_news: bool = True
    r12_replay: bool = True


def without(*names: str) -> Rules:
    """All rules but these."""
    return Rules(**dict.fromkeys(names, False))
