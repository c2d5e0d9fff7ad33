"""One modelled sidecar as a value: what it is between two events (see `machines`)."""

from functools import cache
from typing import Final, NamedTuple

from sidecar.cache.following import Beat, Following
from tests.model.rules import L
from tests.model.server import NOTHING

# The clock stands still in every event, and the past moves away: instants are negative ticks.
NOW: Final = 0.0
SLOTS: Final = tuple(Following.__slots__)
_LEASE_UNTIL: Final = SLOTS.index("lease_until")
_WATERMARK: Final = SLOTS.index("watermark")
_EARLY: Final = SLOTS.index("_early")
_INCARNATION: Final = SLOTS.index("incarnation")
# Beyond this an answer is too old to give any lease.
_OLDEST_BEAT: Final = 2

REDIS, POSTGRES, LANDING = "Redis", "PostgreSQL", "landing"


class Heartbeat(NamedTuple):
    """The one in the air.

    Attributes:
        age: ticks since it was sent.
        answer: of Redis; None for "suspect".
    """

    age: int
    answer: Beat | None


class Read(NamedTuple):
    """What a flight is doing.

    Attributes:
        stage: whom it asks, or that its answer is on the way back.
        owed: the lowest version that its latest waiter may be given.
        value: the answer, once there is one.
        head: head and epoch at the miss in Redis, if Redis was asked.
    """

    stage: str
    owed: int
    value: int = NOTHING
    head: tuple[int, int] | None = None


class Fill(NamedTuple):
    """A fill of Redis on its way."""

    value: int
    head: int
    epoch: int


class Sidecar(NamedTuple):
    """A process between two events.

    Attributes:
        member: its id (R7).
        following: the slots of its `Following`.
        memory: the version of the subject it holds, or `NOTHING`.
        read: the flight that may be joined under a lease.
        queued: what is owed to those who wait for the next flight, or `NOTHING`.
        doomed: the last flight that was doomed and has not landed.
        fill: on its way to Redis.
        beat: the heartbeat in the air.
        replay: the one under way: first and last sequence, and the `Following.life` it began in.
    """

    member: int
    following: tuple[object, ...]
    memory: int = NOTHING
    read: Read | None = None
    queued: int = NOTHING
    doomed: Read | None = None
    fill: Fill | None = None
    beat: Heartbeat | None = None
    replay: tuple[int, int, int] | None = None

    @property
    def leased(self) -> bool:
        """Whether memory may be used now."""
        return self.following[_LEASE_UNTIL] > NOW  # type: ignore[operator]  # a float

    @property
    def watermark(self) -> int | None:
        """See `Following.watermark`."""
        return self.following[_WATERMARK]  # type: ignore[return-value]  # so it is

    @property
    def incarnation(self) -> str:
        """See `Following.incarnation`."""
        return str(self.following[_INCARNATION])

    @property
    def latest_news(self) -> int:
        """The highest sequence it has heard of, in order or not."""
        early: frozenset[tuple[int, int]] = self.following[_EARLY]  # type: ignore[assignment]  # so it is
        return max((seq for seq, _ in early), default=self.watermark or 0)


def still(following: Following) -> tuple[object, ...]:
    """The slots of a `Following` as a value in which the past is as short as it may be."""
    found: list[object] = []
    for slot in SLOTS:
        kept = getattr(following, slot)
        if isinstance(kept, dict):
            kept = frozenset(kept.items())
        elif slot == "lease_until":
            kept = max(NOW, round(kept, 3))
        elif slot == "_behind_since" and kept is not None:
            # Patience is not modelled: a replay may begin at once, or never.
            kept = NOW
        found.append(kept)
    return tuple(found)


def started(member: int) -> Sidecar:
    """A new process."""
    return Sidecar(member, still(Following(L)))


@cache
def resigned(sidecar: Sidecar) -> Sidecar:
    """Without a lease, and without a heartbeat that could give one."""
    slots = list(sidecar.following)
    slots[_LEASE_UNTIL] = NOW
    return sidecar._replace(following=tuple(slots), beat=None)


@cache
def aged(sidecar: Sidecar) -> Sidecar:
    """After one more tick, in which it may have been suspended."""
    slots = list(sidecar.following)
    remaining: float = slots[_LEASE_UNTIL]  # type: ignore[assignment]  # a float
    slots[_LEASE_UNTIL] = max(NOW, round(remaining - 1, 3))
    beat = sidecar.beat
    if beat is not None:
        beat = beat._replace(age=min(beat.age + 1, _OLDEST_BEAT))
    return sidecar._replace(following=tuple(slots), beat=beat)


@cache
def absolved(sidecar: Sidecar) -> Sidecar:
    """The same when nothing is owed to anybody who waits."""
    read = None if sidecar.read is None else sidecar.read._replace(owed=0)
    return sidecar._replace(read=read, queued=min(sidecar.queued, 0), doomed=None)
