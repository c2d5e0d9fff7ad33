"""Messages made whole, where they have to be read (RFC 6455 section 5.4).

`Frames` has judged what arrives here, so this only cuts: control frames are given at once, also
from between fragments; the frames of a message together, when the last is there.
"""

from typing import Final, NamedTuple

from sidecar.relay.closing import masked
from sidecar.relay.frames import Frames

_CONTROL: Final = 0x08
_OPCODE: Final = 0x0F
_FINAL: Final = 0x80
_MASKED: Final = 0x80


class Whole(NamedTuple):
    """A control frame or a message.

    Attributes:
        opcode: of its (first) frame.
        payload: of all of them, unmasked.
        octets: the frames as they came.
    """

    opcode: int
    payload: bytes
    octets: bytes


class Joiner:
    """Joins one direction.

    Args:
        frames: judges it, and bounds the size of a message.
    """

    __slots__ = ("_begun", "_frames", "_is_open", "_left", "_octets", "_opcode", "_payload")

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        # Of the frame under way: its octets so far, and how many are to come.
        self._begun = bytearray()
        self._left = 0
        # Of the message under way. Not lists of parts: those of nothing would take room, too.
        self._is_open = False
        self._opcode = 0
        self._octets = bytearray()
        self._payload = bytearray()

    @property
    def kept_bytes(self) -> int:
        """Octets that wait for the rest of their message."""
        return len(self._begun) + len(self._octets) + len(self._payload)

    def feed(self, octets: bytes) -> list[Whole]:
        """What is whole now."""
        passed = self._frames.feed(octets)
        found: list[Whole] = []
        at, size = 0, len(passed)
        if self._left:
            at = min(self._left, size)
            self._begun += passed[:at]
            self._left -= at
            if self._left:
                return found
            self._frame(bytes(self._begun), found)
            self._begun.clear()
        while at < size:
            end = at + _size_of(passed, at)
            if end > size:
                self._begun += passed[at:]
                self._left = end - size
                break
            self._frame(passed[at:end], found)
            at = end
        return found

    def _frame(self, octets: bytes, found: list[Whole]) -> None:
        opcode = octets[0] & _OPCODE
        payload = _payload_of(octets)
        if opcode & _CONTROL:
            found.append(Whole(opcode, payload, octets))
            return
        is_last = bool(octets[0] & _FINAL)
        if is_last and not self._is_open:
            found.append(Whole(opcode, payload, octets))
            return
        if not self._is_open:
            self._is_open = True
            self._opcode = opcode
        self._octets += octets
        self._payload += payload
        if is_last:
            found.append(Whole(self._opcode, bytes(self._payload), bytes(self._octets)))
            self._is_open = False
            self._octets.clear()
            self._payload.clear()


def _header_of(octets: bytes, at: int) -> tuple[int, int]:
    """Size of the header at `at` without the mask, and of the payload."""
    length = octets[at + 1] & 0x7F
    if length < 126:
        return 2, length
    wide = 2 if length == 126 else 8
    return 2 + wide, int.from_bytes(octets[at + 2 : at + 2 + wide], "big")


def _size_of(octets: bytes, at: int) -> int:
    header, length = _header_of(octets, at)
    return header + (4 if octets[at + 1] & _MASKED else 0) + length


def _payload_of(octets: bytes) -> bytes:
    header, _ = _header_of(octets, 0)
    if octets[1] & _MASKED:
        return masked(octets[header + 4 :], octets[header : header + 4])
    return octets[header:]
