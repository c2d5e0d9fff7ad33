"""One modelled sidecar: the product's own `Following` and `Flights`, and a memory of one subject.

Between events a sidecar is a value. For an event the real machines are built from it, driven, and
taken apart again; equal sidecars meet equal events often, so the outcomes are kept. The clock
stands at 0 in every event and the past moves away: an instant is a negative number of ticks.
"""

from functools import cache
from typing import Final, NamedTuple

from sidecar.cache.flights import Flight, Flights
from sidecar.cache.following import Beat, Following, Verdict
from sidecar.model.need import UserNeed
from tests.model.rules import L, Rules
from tests.model.server import NOTHING

NEED: Final = UserNeed("acme", "eve")
NOW: Final = 0.0
_SLOTS: Final = tuple(Following.__slots__)
_LEASE_UNTIL: Final = _SLOTS.index("lease_until")
_WATERMARK: Final = _SLOTS.index("watermark")
_EARLY: Final = _SLOTS.index("_early")
_EPOCH: Final = _SLOTS.index("epoch")
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
    """

    member: int
    following: tuple[object, ...]
    memory: int = NOTHING
    read: Read | None = None
    queued: int = NOTHING
    doomed: Read | None = None
    fill: Fill | None = None
    beat: Heartbeat | None = None

    @property
    def leased(self) -> bool:
        """Whether memory may be used now."""
        return self.following[_LEASE_UNTIL] > NOW  # type: ignore[operator]  # a float

    @property
    def watermark(self) -> int | None:
        """See `Following.watermark`."""
        return self.following[_WATERMARK]  # type: ignore[return-value]  # so it is

    @property
    def epoch(self) -> int | None:
        """See `Following.epoch`."""
        return self.following[_EPOCH]  # type: ignore[return-value]  # so it is

    @property
    def latest_news(self) -> int:
        """The highest sequence it has heard of, in order or not."""
        early: frozenset[int] = self.following[_EARLY]  # type: ignore[assignment]  # so it is
        return max(early, default=self.watermark or 0)


class _Machines:
    """The real machines of one sidecar, for the length of one event."""

    def __init__(self, sidecar: Sidecar, rules: Rules) -> None:
        self.member, self.memory, self.beat = sidecar.member, sidecar.memory, sidecar.beat
        self.fill, self.doomed, self.rules = sidecar.fill, sidecar.doomed, rules
        self.following = Following(L)
        for slot, kept in zip(_SLOTS, sidecar.following, strict=True):
            setattr(self.following, slot, set(kept) if isinstance(kept, frozenset) else kept)
        self.flights: Flights[int] = Flights()
        self.reads: dict[Flight[int], Read] = {}
        self.queued: list[int] = []
        self.open: Flight[int] | None = None
        if sidecar.read is not None:
            self.open = self.flights.board(NEED, sidecar.read.owed, leased=True)
            assert self.open is not None
            self.reads[self.open] = sidecar.read
            if sidecar.queued != NOTHING:
                self.flights.board(NEED, sidecar.queued, leased=False)
                self.queued = [sidecar.queued]

    @property
    def leased(self) -> bool:
        return self.following.lease_until > NOW

    def value(self) -> Sidecar:
        """Takes the machines apart."""
        read = None
        if self.open is not None:
            read = self.reads[self.open]._replace(owed=max(self.open.waiters))
        return Sidecar(
            self.member,
            _still(self.following),
            self.memory,
            read,
            max(self.queued, default=NOTHING),
            self.doomed,
            self.fill,
            self.beat,
        )

    def request(self, owed: int) -> None:
        """A request that memory cannot answer."""
        leased = self.leased or not self.rules.r6_share
        before = self.open
        self._start(self.flights.board(NEED, owed, leased=leased))
        if before is not None and not leased:
            self.queued.append(owed)

    def hear(self, seq: int, *, concerned: bool) -> None:
        """A change: forget at once; then the watermark moves."""
        if concerned:
            self.memory = NOTHING
            if self.rules.r6_doom:
                self.doom()
        self.following.hear(seq, NOW)

    def doom(self) -> None:
        """R5, R6: what is being read may be old already."""
        overtaken = self.open
        started = self.flights.doom(NEED)
        if overtaken is not None and overtaken.doomed:
            owed = max(overtaken.waiters)
            # Nobody can be told anything wrong who is owed nothing, or before a store was asked.
            if owed and self.reads[overtaken].stage == LANDING:
                self.doomed = self.reads[overtaken]._replace(owed=owed)
            self.open = None
        for flight in started:
            self._start(flight)

    def answered(self) -> None:
        """The answer to the heartbeat."""
        beat, self.beat = self.beat, None
        assert beat is not None
        verdict = self.following.beat(-beat.age, beat.answer, NOW)
        if verdict in {Verdict.STARTED, Verdict.FLUSH}:
            self.memory = NOTHING
            if self.rules.r5_start:
                self.doom()
        elif verdict is Verdict.NEW_EPOCH and self.rules.r5_epoch:
            self.doom()

    def forget_all(self) -> None:
        """What is missing is nowhere to be had: nothing that is known holds (R5)."""
        missing = self.following.missing(NOW, 0.0)
        assert missing is not None
        self.memory = NOTHING
        if self.rules.r5_flush:
            self.doom()
        self.following.skip_to(missing[1])

    def land(self) -> None:
        """The answer arrives: keep it, hand it out, offer it to Redis."""
        flight = self.open
        assert flight is not None
        read = self.reads[flight]
        if not flight.doomed:
            self.memory = max(self.memory, read.value)
            if read.head is not None and self.fill is None:
                self.fill = Fill(read.value, *read.head)
        self.open = None
        self._start(self.flights.land(flight))

    def _start(self, flight: Flight[int] | None) -> None:
        if flight is None:
            return
        asks = REDIS if self.leased or not self.rules.r8 else POSTGRES
        self.open, self.queued = flight, []
        self.reads[flight] = Read(asks, 0)


def _still(following: Following) -> tuple[object, ...]:
    """The slots as a value in which the past is as short as it may be."""
    found: list[object] = []
    for slot in _SLOTS:
        kept = getattr(following, slot)
        if isinstance(kept, set):
            kept = frozenset(kept)
        elif slot == "lease_until":
            kept = max(NOW, round(kept, 3))
        elif slot == "_behind_since" and kept is not None:
            # Patience is not modelled: a replay may begin at once, or never.
            kept = NOW
        found.append(kept)
    return tuple(found)


def started(member: int) -> Sidecar:
    """A new process."""
    return Sidecar(member, _still(Following(L)))


@cache
def request(sidecar: Sidecar, owed: int, rules: Rules) -> Sidecar:
    """See `_Machines.request`."""
    machines = _Machines(sidecar, rules)
    machines.request(owed)
    return machines.value()


@cache
def hear(sidecar: Sidecar, seq: int, rules: Rules, *, concerned: bool) -> Sidecar:
    """See `_Machines.hear`."""
    machines = _Machines(sidecar, rules)
    machines.hear(seq, concerned=concerned)
    return machines.value()


@cache
def answered(sidecar: Sidecar, rules: Rules) -> Sidecar:
    """See `_Machines.answered`."""
    machines = _Machines(sidecar, rules)
    machines.answered()
    return machines.value()


@cache
def missing(sidecar: Sidecar) -> tuple[int, int] | None:
    """See `Following.missing`."""
    return _Machines(sidecar, Rules()).following.missing(NOW, 0.0)


@cache
def forget_all(sidecar: Sidecar, rules: Rules) -> Sidecar:
    """See `_Machines.forget_all`."""
    machines = _Machines(sidecar, rules)
    machines.forget_all()
    return machines.value()


@cache
def land(sidecar: Sidecar, rules: Rules) -> Sidecar:
    """See `_Machines.land`."""
    machines = _Machines(sidecar, rules)
    machines.land()
    return machines.value()


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
