"""Whether a request is a WebSocket handshake (RFC 6455 section 4.2.1)."""

import re
from typing import Final

from sidecar.model.decision import Denial
from sidecar.model.reason import Reason
from sidecar.parse.fields import tokens

# base64 of 16 bytes.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")


def is_upgrade(
    method: str,
    minor: int,
    first: dict[bytes, bytes],
    connection: list[bytes],
    body_length: int | None,
) -> bool | Denial:
    """Whether this is a valid WebSocket handshake.

    Any other Upgrade is ignored (RFC 9110 section 7.8 allows that): common clients offer h2c on
    every request. A WebSocket handshake with a body, or one that is not valid, is refused, because
    the upstream might read it differently.

    Args:
        method: the method.
        minor: minor HTTP version.
        first: fields by lower-case name.
        connection: members of Connection, lower case.
        body_length: as in RequestHead.
    """
    offered = first.get(b"upgrade")
    if offered is None or b"upgrade" not in connection:
        return False
    if b"websocket" not in tokens([offered]):
        return False
    if method != "GET" or minor == 0 or body_length != 0:
        return Denial(Reason.MALFORMED_REQUEST, "a WebSocket handshake is a GET without body")
    if first.get(b"sec-websocket-version", b"").strip() != b"13":
        return Denial(Reason.MALFORMED_REQUEST, "Sec-WebSocket-Version must be 13")
    if _KEY.fullmatch(first.get(b"sec-websocket-key", b"")) is None:
        return Denial(Reason.MALFORMED_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64")
    return True
