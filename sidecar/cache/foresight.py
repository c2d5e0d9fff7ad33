"""What will be asked for next: learned from what was found, believed while it proves right.

A decision about a session needs two rounds to the stores when memory has lost all: the session
tells whose it is, and only then can user and role graph be asked for. Whoever remembers from last
time whose session it is asks for all of them at once. That is all that is predicted: the needs of
a decision form this chain and no other. (Which *other* session comes after one was tried on traces
and dropped: ``python -m perf.warming`` shows why.)

What is remembered is a hint and never an answer. What it makes somebody load is a read like any
other, so it may be outdated, wrong, or kept through a flush: that costs a read and no truth.
"""

from collections.abc import Iterable
from typing import Final

from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.need import Need, StoreNeed

# A need has a user and a role graph behind it; a third place lets a session change hands.
MOST_SUCCESSORS: Final = 3
# Confidence in halves: seen once is enough to be tried; it halves with each time it proves wrong.
_SEEN: Final = 2
_TRUSTED: Final = 2
_MOST: Final = 8


class Foresight:
    """Successors of needs, bounded. About 0.3 KB for each need.

    Only needs whose fact was *found* are to be taught, so that random tokens fill nothing.

    Args:
        capacity: needs remembered (S3-FIFO: those that return stay).
    """

    __slots__ = ("_contexts",)

    def __init__(self, capacity: int) -> None:
        # Successor, confidence; no dict: there are three at most.
        self._contexts: S3Fifo[Need, list[tuple[StoreNeed, int]]] = S3Fifo(capacity)

    def __len__(self) -> int:
        """How many needs have successors."""
        return len(self._contexts)

    def learn(self, need: Need, successors: Iterable[StoreNeed]) -> None:
        """After `need` was found, `successors` were needed. The least trusted makes room."""
        known = self._contexts.peek(need) or []
        for successor in successors:
            confidence = min(_MOST, _of(known, successor) + _SEEN)
            known = [each for each in known if each[0] != successor]
            known.insert(0, (successor, confidence))
            if len(known) > MOST_SUCCESSORS:
                known.remove(min(reversed(known), key=_confidence))
        if known:
            self._contexts.put(need, known)

    def successors(self, need: Need) -> list[StoreNeed]:
        """What will probably be needed after `need`."""
        known = self._contexts.get(need) or ()
        return [successor for successor, confidence in known if confidence >= _TRUSTED]

    def wrong(self, need: Need, successor: StoreNeed) -> None:
        """`successor` was not needed after `need`: it is believed half as much."""
        known = self._contexts.peek(need)
        if known is None:
            return
        halved = [
            (each, confidence // 2 if each == successor else confidence)
            for each, confidence in known
        ]
        self._contexts.put(need, [each for each in halved if each[1]])

    def forget(self, need: Need) -> None:
        """There is no such thing any more."""
        self._contexts.delete(need)


class Budget:
    """So many a second, in bursts of as many; none while it rests.

    Args:
        per_second: the rate, and the most that can be saved up.
    """

    __slots__ = ("_at", "_left", "_per_second", "_rests_until")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = per_second
        self._at = 0.0
        self._rests_until = 0.0

    def take(self, now: float) -> bool:
        """Whether one more may be spent at the instant `now`."""
        self._left = min(self._per_second, self._left + max(0.0, now - self._at) * self._per_second)
        self._at = max(self._at, now)
        if now < self._rests_until or self._left < 1:
            return False
        self._left -= 1
        return True

    def rest(self, until: float) -> None:
        """Nothing is spent before the instant `until`."""
        self._rests_until = max(self._rests_until, until)


def _of(known: list[tuple[StoreNeed, int]], successor: StoreNeed) -> int:
    return next((confidence for each, confidence in known if each == successor), 0)


def _confidence(entry: tuple[StoreNeed, int]) -> int:
    return entry[1]
