"""The explorer on a world small enough to count by hand: two counters that may each reach 2."""

from collections.abc import Iterator

from tests.model.explorer import Explorer

Counters = tuple[int, int]


class Two:
    """Faulty where both have the value `bad`."""

    def __init__(self, bad: int = 9) -> None:
        self._bad = bad

    def initial(self) -> Counters:
        return (0, 0)

    def steps(self, state: Counters) -> Iterator[tuple[str, Counters]]:
        left, right = state
        if left < 2:
            yield "left", (left + 1, right)
        if right < 2:
            yield "right", (left, right + 1)

    def fault(self, state: Counters) -> str:
        return "both" if state == (self._bad, self._bad) else ""


def test_every_state_is_visited_once() -> None:
    found = Explorer(Two(), most_states=100).explore()
    assert (found.states, found.complete, found.story) == (9, True, ())
    assert str(found) == "9 states, all stories"


def test_the_shortest_story_is_told() -> None:
    found = Explorer(Two(bad=1), most_states=100).explore()
    assert found.story == ("left", "right", "both")
    assert str(found).endswith("\n  1. left\n  2. right\n  3. both")


def test_the_beginning_may_be_the_fault() -> None:
    assert Explorer(Two(bad=0), most_states=100).explore().story == ("both",)


def test_bounds_are_told() -> None:
    assert not Explorer(Two(), most_states=3).explore().complete
    shallow = Explorer(Two(bad=2), most_states=100, most_steps=3).explore()
    assert (shallow.depth, shallow.complete, shallow.story) == (3, False, ())
