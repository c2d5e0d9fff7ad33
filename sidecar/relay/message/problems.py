"""What is wrong with message rules, each with its place, collected until all is known."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.relay.message.pattern import Pattern, PatternError
from sidecar.relay.message.pointer import Pointer, PointerError
from sidecar.relay.message.value import Constant, read_constant

# Keys and indexes below `messages`.
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class MessageProblem:
    """One thing wrong with the rules.

    Attributes:
        place: where, below ``websocket.messages``.
        message: for the author of the rules.
        suggestion: what was probably meant; ``""`` when nothing is near.
    """

    place: Place
    message: str
    suggestion: str = ""


class MessagesError(ValueError):
    """The rules make no policy.

    Attributes:
        problems: everything that is wrong.
    """

    def __init__(self, problems: Sequence[MessageProblem]) -> None:
        super().__init__("; ".join(f"{_written(each.place)}: {each.message}" for each in problems))
        self.problems = tuple(problems)


class Problems:
    """Collects problems; what is sound is handed back parsed.

    Attributes:
        found: all so far.
    """

    def __init__(self) -> None:
        self.found: list[MessageProblem] = []

    def add(self, message: str, *place: str | int, suggestion: str = "") -> None:
        """Something is wrong at `place`."""
        self.found.append(MessageProblem(place, message, suggestion))

    def pattern(self, text: str, *place: str | int) -> Pattern | None:
        """The pattern `text`; None where it is none."""
        try:
            return Pattern(text)
        except PatternError as wrong:
            self.add(str(wrong), *place)
            return None

    def pointer(self, text: str, *place: str | int) -> Pointer | None:
        """The pointer `text`; None where it is none."""
        try:
            return Pointer(text)
        except PointerError as wrong:
            self.add(str(wrong), *place)
            return None

    def constant(self, text: str, *place: str | int) -> tuple[Constant] | None:
        """The constant that `text` stands for, which may be None itself; None where it is none."""
        try:
            return (read_constant(text),)
        except ValueError as wrong:
            self.add(str(wrong), *place)
            return None


def _written(place: Place) -> str:
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
