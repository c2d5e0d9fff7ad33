"""The states of a client's connection."""

from enum import Enum
from typing import Final


class State(Enum):
    """What a connection is doing, and so what its deadline is about."""

    HEAD = "reading a head, or waiting for one"
    BODY = "an exchange is under way and its request is not complete"
    ANSWER = "an exchange is under way and its request is complete"
    LINGER = "answered early; the rest of the request is drained"
    CLOSED = "closing or closed"


# Looked up once, not at each of many comparisons.
HEAD: Final = State.HEAD
BODY: Final = State.BODY
ANSWER: Final = State.ANSWER
LINGER: Final = State.LINGER
CLOSED: Final = State.CLOSED
