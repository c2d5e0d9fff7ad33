"""The handshake between client and upstream: what is offered, what may be agreed (RFC 6455, 4).

What the client offers goes upstream without our credential, and without extensions that we could
not follow: reserved bits mean what an extension says. What the upstream answers has to be an answer
to that; anything else is no WebSocket (502).
"""

import re
from base64 import b64encode
from hashlib import sha1
from typing import Final, NamedTuple

from sidecar.authenticate.handshake import is_credential
from sidecar.model.head import Upgrade
from sidecar.parse.fields import tokens
from sidecar.parse.response import ResponseHead

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DEFLATE: Final = b"permessage-deflate"
_BITS: Final = rb"(?:8|9|1[0-5])"
# RFC 7692 section 7.1; a value may be quoted (RFC 6455 section 9.1).
_BARE: Final = frozenset((b"server_no_context_takeover", b"client_no_context_takeover"))
_WINDOWS: Final = frozenset((b"server_max_window_bits", b"client_max_window_bits"))
_WINDOW: Final = re.compile(rb'"?' + _BITS + rb'"?')
_FIELDS: Final = frozenset(
    (
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    )
)


class Offer(NamedTuple):
    """What goes upstream.

    Attributes:
        subprotocols: without the one that holds the credential.
        extensions: that we can follow; ``b""`` for none.
        fields: all fields of the handshake, each ended by CRLF.
    """

    subprotocols: tuple[bytes, ...]
    extensions: bytes
    fields: bytes


class Agreement(NamedTuple):
    """What client and upstream agreed on.

    Attributes:
        subprotocol: that the upstream chose; ``""`` for none.
        compresses: whether messages may be compressed.
        fields: of the answer to the client, each ended by CRLF.
    """

    subprotocol: str
    compresses: bool
    fields: bytes


def offer(upgrade: Upgrade, *, may_compress: bool) -> Offer:
    """What of the client's offer goes upstream.

    Args:
        upgrade: the client's.
        may_compress: whether messages may be compressed: not where we have to read them.
    """
    subprotocols = tuple(each for each in upgrade.subprotocols if not is_credential(each))
    extensions = _followed(upgrade.extensions) if may_compress else b""
    lines = [
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: " + upgrade.key
    ]
    if subprotocols:
        lines.append(b"Sec-WebSocket-Protocol: " + b", ".join(subprotocols))
    if extensions:
        lines.append(b"Sec-WebSocket-Extensions: " + extensions)
    return Offer(subprotocols, extensions, b"\r\n".join((*lines, b"")))


def is_of_handshake(name: bytes) -> bool:
    """Whether the field `name` (lower case) is written by `offer`, or as what was agreed."""
    return name in _FIELDS


def accept_key(key: bytes) -> bytes:
    """What proves that a WebSocket server has read `key` (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def agree(upgrade: Upgrade, offered: Offer, answer: ResponseHead) -> Agreement | str:
    """What was agreed; or, in words, why `answer` (a 101) is no answer to the offer.

    Args:
        upgrade: the client's handshake.
        offered: what went upstream.
        answer: what came back.
    """
    if answer.minor == 0 or b"upgrade" not in tokens(answer.values(b"connection")):
        return "no Connection: Upgrade"
    if tokens(answer.values(b"upgrade")) != [b"websocket"]:
        return "an upgrade to something else"
    accept = accept_key(upgrade.key)
    if answer.values(b"sec-websocket-accept") != [accept]:
        return "Sec-WebSocket-Accept is not of this key"
    chosen = answer.values(b"sec-websocket-protocol")
    if len(chosen) > 1 or (chosen and chosen[0] not in offered.subprotocols):
        return "a subprotocol that was not offered"
    extensions = b", ".join(answer.values(b"sec-websocket-extensions"))
    if extensions and not _is_agreed(extensions, offered.extensions):
        return "an extension that was not offered so"
    lines = [b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept]
    echoed = chosen[0] if chosen else _echo(upgrade)
    if echoed:
        lines.append(b"Sec-WebSocket-Protocol: " + echoed)
    if extensions:
        lines.append(b"Sec-WebSocket-Extensions: " + extensions)
    subprotocol = chosen[0].decode("ascii") if chosen else ""
    return Agreement(subprotocol, bool(extensions), b"\r\n".join((*lines, b"")))


def _echo(upgrade: Upgrade) -> bytes:
    """What a client that showed a credential as a subprotocol is answered where none was chosen.

    Browsers fail a connection if none of what they offered comes back (WHATWG WebSockets).
    """
    return next((each for each in upgrade.subprotocols if is_credential(each)), b"")


def _followed(extensions: bytes) -> bytes:
    """Of the offered extensions those that we know: the parts of a list, each as it is."""
    parts = [part.strip(b" \t") for part in extensions.split(b",")]
    return b", ".join(part for part in parts if _parameters(part) is not None)


def _parameters(part: bytes) -> dict[bytes, bytes] | None:
    """The parameters of one permessage-deflate (RFC 7692 section 7.1); None for anything else."""
    name, *rest = (each.strip(b" \t") for each in part.split(b";"))
    if name.lower() != _DEFLATE:
        return None
    found: dict[bytes, bytes] = {}
    for each in rest:
        key, sign, value = each.partition(b"=")
        key, value = key.strip(b" \t").lower(), value.strip(b" \t")
        bare = key in _BARE or key == b"client_max_window_bits"
        valid = key in _WINDOWS and _WINDOW.fullmatch(value) if sign else bare
        if not valid or key in found:
            return None
        found[key] = value
    return found


def _is_agreed(extensions: bytes, offered: bytes) -> bool:
    """Whether one permessage-deflate is answered, as one offered allows (RFC 7692, 7.1)."""
    answered = _parameters(extensions)
    if answered is None or answered.get(b"client_max_window_bits") == b"":
        return False
    wanted = [_parameters(part.strip(b" \t")) for part in offered.split(b",")] if offered else []
    return any(each is not None and _allows(each, answered) for each in wanted)


def _allows(wanted: dict[bytes, bytes], answered: dict[bytes, bytes]) -> bool:
    if b"client_max_window_bits" in answered and b"client_max_window_bits" not in wanted:
        return False
    if b"server_no_context_takeover" in wanted and b"server_no_context_takeover" not in answered:
        return False
    # Without it the window is the largest there is (section 7.1.2.1). A server that leaves it out
    # where the client offered just that (aiohttp) answers no other way than it was asked.
    most, bits = (
        int(each.get(b"server_max_window_bits", b"15").strip(b'"')) for each in (wanted, answered)
    )
    return bits <= most
