"""What processes of one sidecar know of each other: a few numbers in shared memory.

Made before they are forked. Each number has one writer and is eight aligned bytes, so nobody reads
half of one; nothing here can block or be held by a process that was killed.
"""

import mmap
import struct
from typing import Final

_NUMBER: Final = struct.Struct("=d")
_BEAT, _READY, _STARTS = range(3)
_NUMBERS: Final = 3


class Board:
    """The numbers of some processes.

    Args:
        places: how many processes there are.
    """

    def __init__(self, places: int) -> None:
        self.places: Final = places
        self._memory = mmap.mmap(-1, places * _NUMBERS * _NUMBER.size)

    def beat(self, place: int, now: float) -> None:
        """Its loop turned at the monotonic instant `now`."""
        self._write(place, _BEAT, now)

    def beat_of(self, place: int) -> float:
        """When its loop was last seen turning; 0 for never."""
        return self._read(place, _BEAT)

    def tell_ready(self, place: int) -> None:
        """It serves."""
        self._write(place, _READY, 1.0)

    def is_ready(self, place: int) -> bool:
        """Whether it serves, since it was last started."""
        return self._read(place, _READY) > 0

    def started(self, place: int, now: float) -> None:
        """It is started (anew), and has time from `now` on."""
        self._write(place, _BEAT, now)
        self._write(place, _READY, 0.0)
        self._write(place, _STARTS, self._read(place, _STARTS) + 1)

    def starts_of(self, place: int) -> int:
        """How often it was started."""
        return int(self._read(place, _STARTS))

    def _write(self, place: int, number: int, value: float) -> None:
        _NUMBER.pack_into(self._memory, (place * _NUMBERS + number) * _NUMBER.size, value)

    def _read(self, place: int, number: int) -> float:
        found: tuple[float] = _NUMBER.unpack_from(
            self._memory, (place * _NUMBERS + number) * _NUMBER.size
        )
        return found[0]
