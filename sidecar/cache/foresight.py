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
from itertools import chain
from typing import Any, Final

from sidecar.cache.s3fifo import S3Fifo
from sidecar.model.need import Need, SessionNeed, StoreNeed

# A need has a user and a role graph behind it; a third place lets a session change hands.
MOST_SUCCESSORS: Final = 3
# Confidence in halves: seen once is enough to be tried; it halves with each time it proves wrong.
_SEEN: Final = 2
_TRUSTED: Final = 2
_MOST: Final = 8


# Successors, each followed by the confidence in it: flat, because there are thousands of them.
_Known = tuple[StoreNeed | int, ...]


class Foresight:
    """Successors of needs, bounded. About 0.3 KB for each need.

    Only needs whose fact was *found* are to be taught, so that random tokens fill nothing.

    Args:
        capacity: needs remembered (S3-FIFO: those that return stay).
    """

    __slots__ = ("_contexts",)

    def __init__(self, capacity: int) -> None:
        self._contexts: S3Fifo[bytes | Need, _Known] = S3Fifo(capacity)

    def __len__(self) -> int:
        """How many needs have successors."""
        return len(self._contexts)

    def learn(self, need: Need, successors: Iterable[StoreNeed]) -> None:
        """After `need` was found, `successors` were needed. The least trusted makes room."""
        known = _pairs(self._contexts.peek(_key(need)))
        for successor in successors:
            known[successor] = min(_MOST, known.pop(successor, 0) + _SEEN)
            if len(known) > MOST_SUCCESSORS:
                # Of those trusted alike the oldest, which come first.
                del known[min(known, key=known.__getitem__)]
        self._keep(need, known)

    def successors(self, need: Need) -> list[StoreNeed]:
        """What will probably be needed after `need`."""
        known = _pairs(self._contexts.get(_key(need)))
        return [successor for successor, confidence in known.items() if confidence >= _TRUSTED]

    def wrong(self, need: Need, successor: StoreNeed) -> None:
        """`successor` was not needed after `need`: it is believed half as much."""
        known = _pairs(self._contexts.peek(_key(need)))
        if successor in known:
            known[successor] //= 2
            self._keep(need, known)

    def forget(self, need: Need) -> None:
        """There is no such thing any more."""
        self._contexts.delete(_key(need))

    def _keep(self, need: Need, known: dict[StoreNeed, int]) -> None:
        flat = tuple(chain.from_iterable(known.items()))
        if flat:
            self._contexts.put(_key(need), flat)


def _key(need: Need) -> bytes | Need:
    """Of a session the digest alone: the very object that memory keeps as its key."""
    return need.digest if isinstance(need, SessionNeed) else need


def _pairs(known: _Known | None) -> dict[StoreNeed, int]:
    """By successor the confidence in it, in the order they were last seen."""
    each: Any = known or ()
    return dict(zip(each[::2], each[1::2], strict=True))


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
