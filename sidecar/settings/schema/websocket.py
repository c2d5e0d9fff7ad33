"""`routes[].websocket`: what may pass over WebSockets."""

from typing import Annotated

from msgspec import Meta

from sidecar.settings.schema.base import Positive, Settings
from sidecar.settings.schema.messages import Messages


class Reauthentication(Settings, frozen=True):
    """A message by which a client shows a fresh credential on an open WebSocket.

    It is a JSON object as text; it goes to us and not to the application.

    Attributes:
        type: what marks it...
        type_pointer: ...at this place (a JSON pointer, RFC 6901).
        token_pointer: where the session token or JWT stands in it.
    """

    type: Annotated[str, Meta(min_length=1)] = "sidecar.authenticate"
    type_pointer: str = "/type"
    token_pointer: str = "/token"  # noqa: S105 - a place
    # The client is told so long before its credential ends; 0 tells nothing.
    announce_seconds: Annotated[float, Meta(ge=0)] = 0.0


class WebSocketRule(Settings, frozen=True):
    """What may pass over WebSockets of a route (docs/websocket.md). Left out, there are none.

    Attributes:
        origins: pages that may connect, as browsers write their origins, beside those of the host
            itself; ``*`` for any, where no cookie or certificate says who is asking.
        reauthenticate: the message that extends a connection's life; `null` for none.
        messages: which messages may pass; `null` lets all pass unread.
    """

    origins: tuple[str, ...] = ()
    # Beyond, the connection is closed (1009). Frames are not kept in memory, they pass.
    frame_bytes: Annotated[int, Meta(ge=125)] = 16_777_216
    # All frames of a message together; compressed as they are.
    message_bytes: Annotated[int, Meta(ge=125)] = 16_777_216
    # The same where messages are read (message rules, `reauthenticate`): those are kept whole.
    read_bytes: Annotated[int, Meta(ge=125)] = 1_048_576
    # Of a client, in a second, counted over ten; beyond, the connection is closed (1008). Pings,
    # pongs and fragments of up to 125 bytes count, too: who is held to a number of messages could
    # send those instead. 0 counts nothing.
    messages_per_second: Annotated[float, Meta(ge=0)] = 0.0
    # Without a message in either direction for so long the connection is closed (1001). 0 never:
    # pings tell of peers that are gone.
    idle_seconds: Annotated[float, Meta(ge=0)] = 0.0
    # Who has sent nothing for so long is sent a ping; who then sends nothing for as long again is
    # gone. Below what load balancers and NAT let rest (60 s and more). 0 sends none.
    ping_seconds: Annotated[float, Meta(ge=0)] = 25.0
    # While nobody can say whether it may go on, nothing passes; after this it is closed (1013).
    hold_seconds: Positive = 5.0
    reauthenticate: Reauthentication | None = None
    messages: Messages | None = None
