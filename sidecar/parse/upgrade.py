"""Whether a request is a WebSocket handshake (RFC 6455 section 4.2.1)."""

import re
from typing import Final

from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead, Upgrade
from sidecar.model.reason import Reason
from sidecar.parse.fields import tokens

# base64 of 16 bytes: of the last character only two bits count.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
# A list of tokens (RFC 9110 section 5.6.2), none of them empty.
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SUBPROTOCOLS: Final = re.compile(_TOKEN + rb"(?:[ \t]*,[ \t]*" + _TOKEN + rb")*")
_EXTENSIONS: Final = re.compile(rb"[\t -~]*")


def read_upgrade(head: RequestHead, connection: list[bytes]) -> Upgrade | Denial | None:
    """The handshake, where this is one.

    Any other Upgrade is ignored (RFC 9110 section 7.8 allows that): common clients offer h2c on
    every request. A WebSocket handshake with a body, or one that is not valid, is refused, because
    the upstream might read it differently.

    Args:
        head: the head, complete but for `keep_alive`, `upgrade` and `expects_continue`.
        connection: members of Connection, lower case.
    """
    if b"upgrade" not in connection or b"websocket" not in tokens(head.values(b"upgrade")):
        return None
    if head.method != "GET" or head.minor == 0 or head.body_length != 0:
        return _malformed("a WebSocket handshake is a GET without body")
    if tokens(head.values(b"upgrade")) != [b"websocket"]:
        return _malformed("a WebSocket handshake offers nothing else")
    if head.values(b"sec-websocket-version") != [b"13"]:
        return _malformed("Sec-WebSocket-Version must be 13")
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        return _malformed("Sec-WebSocket-Key must be 16 bytes in base64")
    subprotocols = _subprotocols(head.values(b"sec-websocket-protocol"))
    if subprotocols is None:
        return _malformed("Sec-WebSocket-Protocol must list different tokens")
    extensions = b", ".join(head.values(b"sec-websocket-extensions"))
    if _EXTENSIONS.fullmatch(extensions) is None:
        return _malformed("Sec-WebSocket-Extensions has other than visible characters")
    return Upgrade(keys[0], subprotocols, extensions)


def _subprotocols(values: list[bytes]) -> tuple[bytes, ...] | None:
    """All that are offered; None where that is no list of different ones (RFC 6455, 4.1)."""
    found: list[bytes] = []
    for value in values:
        if _SUBPROTOCOLS.fullmatch(value) is None:
            return None
        found += [member.strip(b" \t") for member in value.split(b",")]
    return tuple(found) if len(set(found)) == len(found) else None


def _malformed(detail: str) -> Denial:
    return Denial(Reason.MALFORMED_REQUEST, detail)
