"""Every order of events, by running each story from its beginning (stateless model checking).

A story asks `Choices.pick` which of the events that are possible now happens next. The first story
always takes the first; each further one differs from the one before it in its last choice that has
an alternative left. So all stories are told, each once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """The choices of one story.

    Args:
        given: the place of each choice that is taken, as far as it is laid down.
    """

    def __init__(self, given: Sequence[int]) -> None:
        self._given = given
        self._taken: list[tuple[int, int]] = []

    def pick(self, possible: Sequence[T]) -> T:
        """The next event, out of those that are possible (at least one)."""
        at = len(self._taken)
        place = self._given[at] if at < len(self._given) else 0
        self._taken.append((place, len(possible)))
        return possible[place]

    def following(self) -> list[int] | None:
        """What the next story is given; None after the last."""
        taken = list(self._taken)
        while taken:
            place, count = taken.pop()
            if place + 1 < count:
                return [*(each for each, _ in taken), place + 1]
        return None


def every_order(tell: Callable[[Choices], T]) -> Iterator[T]:
    """What each story gives."""
    given: list[int] | None = []
    while given is not None:
        choices = Choices(given)
        yield tell(choices)
        given = choices.following()
