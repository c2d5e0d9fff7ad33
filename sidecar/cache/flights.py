"""Single-flight: who shares a read with whom, and whom an invalidation keeps from it.

A read of a need that many wait for is made once (R6 of SYNC.md):

- An invalidation that arrives during a read *dooms* it: the flight leaves the map and serves
  nobody who comes after; what it brings is not put in memory. Those who waited before get it:
  their question is older than the news.
- Without a lease nobody joins a read that already started, because news about it may have been
  missed: all of them share the next one, which starts when the running one lands or is doomed.

This is bookkeeping only. Who calls must start each flight it is handed exactly once, and land it
exactly once, however it ended.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from sidecar.model.need import Need

Waiter = TypeVar("Waiter")


class Flight(Generic[Waiter]):
    """One read of one need, and who waits for it.

    Attributes:
        need: what is read.
        waiters: who waits, in the order of arrival.
        doomed: whether an invalidation has overtaken it.
        landed: whether it has ended. Nothing can doom it then, so what it brings later is void.
    """

    __slots__ = ("doomed", "landed", "need", "waiters")

    def __init__(self, need: Need, waiter: Waiter) -> None:
        self.need = need
        self.waiters: list[Waiter] = [waiter]
        self.doomed = False
        self.landed = False


class Flights(Generic[Waiter]):
    """All reads in the air or waiting to start. One thread only."""

    __slots__ = ("_aloft", "_next", "_open")

    def __init__(self) -> None:
        # Reads that started and are not doomed. Several for a need when nobody may share.
        self._aloft: dict[Need, list[Flight[Waiter]]] = {}
        # Of these, the one that may be joined under a lease.
        self._open: dict[Need, Flight[Waiter]] = {}
        # The one that starts when the open one has ended.
        self._next: dict[Need, Flight[Waiter]] = {}

    def __len__(self) -> int:
        """How many reads are in the air, without doomed ones."""
        return sum(len(flights) for flights in self._aloft.values())

    def board(self, need: Need, waiter: Waiter, *, leased: bool) -> Flight[Waiter] | None:
        """Finds a flight for `waiter`. Returns it if it is new and has to be started now.

        Args:
            need: what is to be read.
            waiter: whatever the shell wakes.
            leased: whether the news is known to flow now.
        """
        running = self._open.get(need)
        if running is None:
            flight = Flight(need, waiter)
            self._start(flight)
            return flight
        if leased:
            running.waiters.append(waiter)
        elif (queued := self._next.get(need)) is not None:
            queued.waiters.append(waiter)
        else:
            self._next[need] = Flight(need, waiter)
        return None

    def alone(self, need: Need, waiter: Waiter) -> Flight[Waiter]:
        """A flight that nobody joins (feature ``single_flight`` off); it can be doomed as well."""
        flight = Flight(need, waiter)
        self._aloft.setdefault(need, []).append(flight)
        return flight

    def land(self, flight: Flight[Waiter]) -> Flight[Waiter] | None:
        """Ends `flight`. Returns the flight that has to be started now, if one waited."""
        landed, flight.landed = flight.landed, True
        if flight.doomed or landed:
            return None
        aloft = self._aloft[flight.need]
        aloft.remove(flight)
        if not aloft:
            del self._aloft[flight.need]
        if self._open.get(flight.need) is not flight:
            return None
        del self._open[flight.need]
        return self._promote(flight.need)

    def doom(self, need: Need) -> list[Flight[Waiter]]:
        """Dooms the reads of `need`. Returns flights that have to be started now."""
        for flight in self._aloft.pop(need, ()):
            flight.doomed = True
        if self._open.pop(need, None) is None:
            return []
        started = self._promote(need)
        return [] if started is None else [started]

    def doom_where(self, concerns: Callable[[Need], bool]) -> list[Flight[Waiter]]:
        """Dooms the reads of all needs that `concerns` says yes to; returns as `doom` does."""
        needs = [need for need in self._aloft if concerns(need)]
        return [started for need in needs for started in self.doom(need)]

    def _promote(self, need: Need) -> Flight[Waiter] | None:
        queued = self._next.pop(need, None)
        if queued is not None:
            self._start(queued)
        return queued

    def _start(self, flight: Flight[Waiter]) -> None:
        self._open[flight.need] = flight
        self._aloft.setdefault(flight.need, []).append(flight)
