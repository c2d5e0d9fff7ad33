"""However messages of both sides cross, an answer is judged as of the operation that gave it."""

from random import Random
from typing import Final

from sidecar.relay.message.operations import Operation, Operations
from sidecar.relay.message.refusal import UnreadableError

ID: Final = "1"
OPERATIONS: Final[dict[str, Operation]] = {name: (name, name * 64) for name in "AB"}
STEPS: Final = (
    "A",
    "A",
    "B",
    "complete",
    "reaches",
    "reaches",
    "says",
    "ends",
    "arrives",
    "arrives",
)


class Server:
    """Runs whatever it is told under whatever id, and ends each run at most once."""

    def __init__(self) -> None:
        self.told: list[Operation] = []
        self.runs: list[Operation] = []
        # Operation, and whether it is its end.
        self.said: list[tuple[Operation, bool]] = []

    def step(self, step: str) -> None:
        if step == "reaches" and self.told:
            self.runs.append(self.told.pop(0))
        elif self.runs and step == "ends":
            self.said.append((self.runs.pop(0), True))
        elif self.runs and step == "says":
            self.said.append((self.runs[0], False))


def test_an_answer_belongs_to_the_operation_that_gave_it() -> None:
    draw = Random(1)
    arrived = sum(_walk(draw.choices(STEPS, k=30)) for _ in range(20_000))
    assert arrived > 1000, "answers were judged at all"


def _walk(steps: list[str]) -> int:
    """How many answers arrived."""
    known, server, arrived = Operations(), Server(), 0
    for step in steps:
        if step in OPERATIONS:
            operation = OPERATIONS[step]
            try:
                known.check(ID, operation)
            except UnreadableError:
                # Refused: the connection ends.
                return arrived
            known.begun(ID, operation)
            server.told.append(operation)
        elif step == "complete":
            known.ended_by_client(ID)
        elif step != "arrives":
            server.step(step)
        elif server.said:
            operation, is_end = server.said.pop(0)
            if is_end:
                known.ended_by_server(ID)
            else:
                assert known.find(ID) == operation
                arrived += 1
    return arrived
