"""What the connection of a client keeps in our memory."""

from enum import StrEnum


class Holding(StrEnum):
    """Whose octets they are mostly, as metrics name it."""

    # That its client does not read.
    ANSWER = "answer"
    # That the upstream does not take, or that follows the one under way.
    REQUEST = "request"
    WEBSOCKET = "websocket"
