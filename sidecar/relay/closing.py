"""Close codes, and the frames that we write ourselves (RFC 6455 sections 5.5 and 7.4)."""

from enum import IntEnum
from typing import Final

from sidecar.model.decision import Denial
from sidecar.model.reason import STATUS


class Code(IntEnum):
    """Close codes that we send; the registry is of RFC 6455 section 11.7, 4000 to 4999 are ours."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    # Never on the wire (RFC 6455 section 7.4.1): a close frame without a code, and none at all.
    NO_CODE = 1005
    ABNORMAL = 1006
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013
    # As 401 and 403 are of requests: a fresh credential may help, or nothing does.
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403


# Of those below 3000 the ones that may stand in a frame: 1004 is reserved, 1005, 1006 and 1015 are
# for programs to tell themselves (RFC 6455 section 7.4.1; 1012 to 1014 were registered later).
_IN_FRAMES: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

LARGEST_CONTROL: Final = 125
_LONGEST_REASON: Final = LARGEST_CONTROL - 2
_MASKED: Final = 0x80
_FINAL: Final = 0x80


def is_code(code: int) -> bool:
    """Whether `code` may stand in a close frame."""
    return code in _IN_FRAMES or 3000 <= code <= 4999


def code_of(denial: Denial) -> Code:
    """The close code for a connection that `denial` is about."""
    status = STATUS.get(denial.reason, 403)
    if status == 401:
        return Code.UNAUTHENTICATED
    if status < 500:
        # Also where the route is gone or asks for something else now.
        return Code.FORBIDDEN
    return Code.TRY_LATER if status == 503 else Code.INTERNAL


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a close frame; a reason that is too long is cut between two characters."""
    text = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
    return code.to_bytes(2, "big") + text.encode()


def frame(opcode: int, payload: bytes, mask: bytes = b"") -> bytes:
    """A whole message, or a control frame, as one frame (RFC 6455 section 5.2).

    Args:
        opcode: of the frame.
        payload: as it is meant.
        mask: four bytes where it goes to an upstream, for which we are the client.
    """
    size = len(payload)
    bit = _MASKED if mask else 0
    if size < 126:
        head = bytes((_FINAL | opcode, bit | size))
    elif size < 65_536:
        head = bytes((_FINAL | opcode, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, bit | 127)) + size.to_bytes(8, "big")
    return b"".join((head, mask, masked(payload, mask) if mask else payload))


def masked(payload: bytes, mask: bytes) -> bytes:
    """`payload` masked, or unmasked (RFC 6455 section 5.3).

    As one large number, which costs a few nanoseconds for each 8 bytes.
    """
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
