"""One bound on what all clients together leave in our memory (PROMISES 24).

Each connection is bounded by itself, to about a megabyte at the worst; ten thousand of them would
still be too much. Whoever comes to hold more than a little tells the budget; beyond the bound those
who hold most are cut until a tenth of it is free.
"""

from collections import Counter
from typing import Final, Protocol

from sidecar.model.holding import Holding

# Smaller amounts are not counted: there are many, and they come and go with each request.
LITTLE_BYTES: Final = 4096
_AIM: Final = 0.9


class Holder(Protocol):
    """A connection."""

    def kept_bytes(self) -> int:
        """What it keeps in memory at this moment."""

    def shed(self) -> Holding:
        """Give it up: end the exchange or the connection; what it was kept for."""


class Budget:
    """Counts what is kept.

    Args:
        most_bytes: the bound.

    Attributes:
        most_bytes: the bound.
        used_bytes: as told last by each holder.
        shed: how many were cut, by what they kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes: Final = most_bytes
        self._kept: dict[Holder, int] = {}
        self.used_bytes = 0
        self.shed: Counter[str] = Counter(dict.fromkeys(Holding, 0))

    def tell(self, holder: Holder) -> bool:
        """`holder` keeps more, or less, than it did; whether it is worth counting."""
        self._count(holder)
        if self.used_bytes > self.most_bytes:
            self._make_room()
        return holder in self._kept

    def forget(self, holder: Holder) -> None:
        """`holder` is gone; no error if it never told anything."""
        self.used_bytes -= self._kept.pop(holder, 0)

    def _count(self, holder: Holder) -> None:
        size = holder.kept_bytes()
        self.forget(holder)
        if size > LITTLE_BYTES:
            self._kept[holder] = size
            self.used_bytes += size

    def _make_room(self) -> None:
        # Some have sent on what they told of, without a word: look before anybody is cut.
        for holder in list(self._kept):
            self._count(holder)
        if self.used_bytes <= self.most_bytes:
            return
        for holder in sorted(self._kept, key=self._kept.__getitem__, reverse=True):
            if self.used_bytes <= self.most_bytes * _AIM:
                return
            self.forget(holder)
            self.shed[holder.shed()] += 1
