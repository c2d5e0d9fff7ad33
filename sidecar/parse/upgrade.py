"""Whether a request is a WebSocket handshake (RFC 6455 section 4.2.1)."""

import re
from typing import Final

from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.reason import Reason
from sidecar.parse.fields import tokens

# base64 of 16 bytes.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")


def is_upgrade(head: RequestHead, connection: list[bytes]) -> bool | Denial:
    """Whether this is a valid WebSocket handshake.

    Any other Upgrade is ignored (RFC 9110 section 7.8 allows that): common clients offer h2c on
    every request. A WebSocket handshake with a body, or one that is not valid, is refused, because
    the upstream might read it differently.

    Args:
        head: the head, complete but for `keep_alive`, `upgrade` and `expects_continue`.
        connection: members of Connection, lower case.
    """
    if b"upgrade" not in connection or b"websocket" not in tokens(head.values(b"upgrade")):
        return False
    if head.method != "GET" or head.minor == 0 or head.body_length != 0:
        return Denial(Reason.MALFORMED_REQUEST, "a WebSocket handshake is a GET without body")
    if head.values(b"sec-websocket-version") != [b"13"]:
        return Denial(Reason.MALFORMED_REQUEST, "Sec-WebSocket-Version must be 13")
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        return Denial(Reason.MALFORMED_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64")
    return True
