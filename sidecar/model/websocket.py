"""What may pass over the WebSockets of a route."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reauthentication:
    """The message that shows a fresh credential.

    Attributes:
        kind: the text that marks it.
        kind_at: where that stands: the members of a JSON pointer.
        token_at: where the token stands.
        announce_seconds: how long before the end the client is told; 0 for not at all.
    """

    kind: str
    kind_at: tuple[str, ...]
    token_at: tuple[str, ...]
    announce_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WebSocketPolicy:
    """A route's policy.

    Attributes:
        origins: of pages that may connect beside those of the host itself; ``*`` for any.
        frame_bytes: the largest frame.
        message_bytes: the largest message.
        read_bytes: the largest message where messages are read.
        messages_per_second: of a client; 0 for any number.
        idle_seconds: the longest time without a message; 0 for any.
        ping_seconds: after so much silence there is a ping; 0 for never.
        hold_seconds: how long nothing passes before the connection is closed.
        reauthentication: the message that extends its life.
        reads_messages: whether the route has message rules.
    """

    origins: frozenset[str] = frozenset()
    frame_bytes: int = 16_777_216
    message_bytes: int = 16_777_216
    read_bytes: int = 1_048_576
    messages_per_second: float = 0.0
    idle_seconds: float = 0.0
    ping_seconds: float = 25.0
    hold_seconds: float = 5.0
    reauthentication: Reauthentication | None = None
    reads_messages: bool = False
