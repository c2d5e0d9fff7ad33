"""When grants end, in order, also of a hundred thousand.

Sorting so many at once would stop the loop for 20 ms: they are sorted second by second, each when
it has come.
"""

import math
from bisect import bisect_right
from heapq import heappop, heappush


class Ends:
    """Wall-clock instants at which grants end.

    Attributes:
        passed: what ended by then is forgotten.
    """

    __slots__ = ("_by_second", "_seconds", "_sorted", "passed")

    def __init__(self) -> None:
        self.passed = -math.inf
        self._by_second: dict[float, list[float]] = {}
        # The keys, as a heap.
        self._seconds: list[float] = []
        # The one of them whose list is sorted.
        self._sorted = -math.inf

    def add(self, end: float) -> None:
        """One more, before anybody asks."""
        if end == math.inf:
            return
        second = end // 1.0
        ends = self._by_second.get(second)
        if ends is None:
            self._by_second[second] = [end]
            heappush(self._seconds, second)
        elif ends[-1] != end:
            ends.append(end)

    @property
    def first(self) -> float:
        """The second of the first end that is not forgotten; infinity for none."""
        return self._seconds[0] if self._seconds else math.inf

    def after(self, wall: float) -> float:
        """The first end later than `wall`, or infinity.

        Args:
            wall: wall-clock instant; not before `passed`.
        """
        while self._seconds:
            second = self._seconds[0]
            if wall < second + 1.0:
                ends = self._by_second[second]
                if second != self._sorted:
                    ends.sort()
                    self._sorted = second
                if wall < ends[-1]:
                    return ends[bisect_right(ends, wall)]
            heappop(self._seconds)
            del self._by_second[second]
            self.passed = wall
        return math.inf
