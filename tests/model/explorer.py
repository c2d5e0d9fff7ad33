"""Explicit-state model checking: every order of events, and the shortest story of a fault.

Nothing here knows what is modelled. A model is an initial state, the steps that are possible in a
state, and a claim about each state. States are values: equal ones are visited once.
"""

import gc
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)


class Model(Protocol[State]):
    """What is explored."""

    def initial(self) -> State:
        """Where every story begins."""
        ...

    def steps(self, state: State) -> Iterable[tuple[str, State]]:
        """What may happen next: a plain sentence, and the state after it. Always the same order."""
        ...

    def fault(self, state: State) -> str:
        """What must never be and is, as a plain sentence; empty where all is well."""
        ...


class Exploration(NamedTuple):
    """What was found.

    Attributes:
        states: how many different ones were visited.
        depth: length of the longest story that was followed to its end.
        complete: whether no bound cut anything off: then the claims hold for ever.
        story: the shortest way to a fault and the fault, as sentences; empty where there is none.
    """

    states: int
    depth: int
    complete: bool
    story: tuple[str, ...]

    def __str__(self) -> str:
        """For people."""
        extent = "all stories" if self.complete else f"all stories of {self.depth} steps"
        told = "".join(f"\n  {at}. {each}" for at, each in enumerate(self.story, 1))
        return f"{self.states} states, {extent}{told}"


class Explorer(Generic[State]):
    """One breadth-first walk through `model`.

    Args:
        model: what is explored.
        most_states: gives up beyond so many; bounds memory and time.
        most_steps: follows no story further than this.
    """

    def __init__(self, model: Model[State], *, most_states: int, most_steps: int = 1000) -> None:
        self._model = model
        self._most_states = most_states
        self._most_steps = most_steps
        # How each state was reached first: hence by one of the shortest ways.
        self._origin: dict[State, tuple[State, str] | None] = {}

    def explore(self) -> Exploration:
        """Visits what is within the bounds, or stops at the first fault."""
        # States are tuples without cycles, and they all stay: looking for garbage among them
        # takes half of the time and finds none.
        collected = gc.isenabled()
        gc.disable()
        try:
            return self._explore()
        finally:
            if collected:
                gc.enable()

    def _explore(self) -> Exploration:
        first = self._model.initial()
        self._origin = {first: None}
        if fault := self._model.fault(first):
            return self._found(0, complete=False, story=(fault,))
        origin, steps, fault_of = self._origin, self._model.steps, self._model.fault
        frontier, depth = deque([first]), 0
        while frontier and depth < self._most_steps:
            following: deque[State] = deque()
            for state in frontier:
                for sentence, after in steps(state):
                    if after in origin:
                        continue
                    origin[after] = (state, sentence)
                    if fault := fault_of(after):
                        return self._found(depth, complete=False, story=self._tell(after, fault))
                    following.append(after)
                if len(origin) > self._most_states:
                    return self._found(depth, complete=False, story=())
            frontier, depth = following, depth + 1
        return self._found(depth, complete=not frontier, story=())

    def _found(self, depth: int, *, complete: bool, story: tuple[str, ...]) -> Exploration:
        return Exploration(len(self._origin), depth, complete, story)

    def _tell(self, state: State, fault: str) -> tuple[str, ...]:
        sentences = [fault]
        while (origin := self._origin[state]) is not None:
            state, sentence = origin
            sentences.append(sentence)
        return tuple(reversed(sentences))
