"""Drives the product's own `Following` and `Flights`, and a memory of one subject.

For each event the machines are built from the value of a sidecar, driven, and taken apart again.
Equal sidecars meet equal events often, so the outcomes are kept.
"""

from functools import cache
from typing import Final

from sidecar.cache.flights import Flight, Flights
from sidecar.cache.following import Following, Verdict
from sidecar.model.need import UserNeed
from tests.model.rules import L, Rules
from tests.model.server import NOTHING
from tests.model.sidecar import (
    LANDING,
    NOW,
    POSTGRES,
    REDIS,
    SLOTS,
    Fill,
    Read,
    Sidecar,
    still,
)

NEED: Final = UserNeed("acme", "eve")


class _Machines:
    """The real machines of one sidecar, for the length of one event."""

    def __init__(self, sidecar: Sidecar, rules: Rules) -> None:
        self.member, self.memory, self.beat = sidecar.member, sidecar.memory, sidecar.beat
        self.fill, self.doomed, self.rules = sidecar.fill, sidecar.doomed, rules
        self.replay = sidecar.replay
        self.following = Following(L)
        for slot, kept in zip(SLOTS, sidecar.following, strict=True):
            setattr(self.following, slot, dict(kept) if isinstance(kept, frozenset) else kept)
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
            still(self.following),
            self.memory,
            read,
            max(self.queued, default=NOTHING),
            self.doomed,
            self.fill,
            self.beat,
            self.replay,
        )

    def request(self, owed: int) -> None:
        """A request that memory cannot answer."""
        leased = self.leased or not self.rules.r6_share
        before = self.open
        self._start(self.flights.board(NEED, owed, leased=leased))
        if before is not None and not leased:
            self.queued.append(owed)

    def hear(self, seq: int, incarnation: int, *, concerned: bool) -> None:
        """A change: forget at once; then the watermark moves, if it counts the same life (R12)."""
        if concerned:
            self.memory = NOTHING
            if self.rules.r6_doom:
                self.doom()
        mine = self.following.incarnation
        if not (self.rules.r12_news and mine and mine != str(incarnation)):
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
        elif verdict is Verdict.NEW_EPOCH:
            self.doom()

    def begin_replay(self) -> None:
        """The stores are asked for what is missing; they may take long."""
        missing = self.following.missing(NOW, 0.0)
        assert missing is not None
        self.replay = (*missing, self.following.life)

    def replayed(self, concerns: tuple[bool, ...], *, found: bool) -> None:
        """The stores answer, with what there was when they were asked, or with nothing."""
        replay, self.replay = self.replay, None
        assert replay is not None
        first, last, life = replay
        if self.rules.r12_replay and life != self.following.life:
            return
        if not found:
            self._forget_up_to(last)
            return
        for seq in range(first, last + 1):
            if concerns[seq - 1]:
                self.memory = NOTHING
                self.doom()
            self.following.hear(seq, NOW)

    def forget_all(self) -> None:
        """What is missing is nowhere to be had: nothing that is known holds (R5)."""
        missing = self.following.missing(NOW, 0.0)
        assert missing is not None
        self._forget_up_to(missing[1])

    def _forget_up_to(self, seq: int) -> None:
        self.memory = NOTHING
        if self.rules.r5_flush:
            self.doom()
        self.following.skip_to(seq)

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


@cache
def request(sidecar: Sidecar, owed: int, rules: Rules) -> Sidecar:
    """See `_Machines.request`."""
    machines = _Machines(sidecar, rules)
    machines.request(owed)
    return machines.value()


@cache
def hear(sidecar: Sidecar, seq: int, incarnation: int, rules: Rules, *, concerned: bool) -> Sidecar:
    """See `_Machines.hear`."""
    machines = _Machines(sidecar, rules)
    machines.hear(seq, incarnation, concerned=concerned)
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
def begin_replay(sidecar: Sidecar) -> Sidecar:
    """See `_Machines.begin_replay`."""
    machines = _Machines(sidecar, Rules())
    machines.begin_replay()
    return machines.value()


@cache
def replayed(sidecar: Sidecar, concerns: tuple[bool, ...], rules: Rules, *, found: bool) -> Sidecar:
    """See `_Machines.replayed`."""
    machines = _Machines(sidecar, rules)
    machines.replayed(concerns, found=found)
    return machines.value()


@cache
def land(sidecar: Sidecar, rules: Rules) -> Sidecar:
    """See `_Machines.land`."""
    machines = _Machines(sidecar, rules)
    machines.land()
    return machines.value()
