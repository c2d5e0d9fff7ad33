"""Compiling in slices: a hundred thousand grants must not stop the loop for a tenth of a second.

What compiles is a generator that yields after each step how many rules or grants the step took, at
most `STEP` of them. A slice goes on until it has spent its budget. For nearly everybody the first
one ends it, within the decision. For the others the decision says that there is work left
(`Missing.work`), and the shell goes on with it, slice by slice, between other requests. Nothing
here knows the loop or a clock.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Yields what each step took and returns what was made, which is never None.
Steps = Generator[int, None, T]

# Rules or grants in one step: 0.1 to 0.2 ms.
STEP: Final = 100
# Rules or grants in one slice: 1 to 2 ms.
SLICE: Final = 1000


class Compilation(Generic[T]):
    """Something that is being compiled; several may wait for it, and any of them may go on with it.

    Attributes:
        made: what was made; None before the end, and where an error ended it.
        is_over: whether there is nothing left to do.
    """

    __slots__ = ("_steps", "is_over", "made")

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self.made: T | None = None
        self.is_over = False

    def step(self) -> int:
        """Do one step; gives what it took."""
        if self.is_over:
            return 0
        # Whatever comes out of a generator instead of a value ends it.
        self.is_over = True
        try:
            took = next(self._steps)
        except StopIteration as ended:
            self.made = ended.value
            return 0
        self.is_over = False
        return took

    def advance(self, budget: int = SLICE) -> bool:
        """Do one slice; tells whether nothing is left to do."""
        while budget > 0 and not self.is_over:
            budget -= self.step()
        return self.is_over


def in_steps(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items`, as many at a time as make one step."""
    for begin in range(0, len(items), STEP):
        yield items[begin : begin + STEP]
