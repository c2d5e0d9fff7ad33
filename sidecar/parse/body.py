"""Bodies cut into payload: by length, by chunks (RFC 9112 section 7.1), or until the close.

Each reader is a value machine: `feed(data)` returns the payload found in `data` and keeps its
place; when `ended` is true, `rest` holds what came after the body. Nothing is buffered but an
unfinished chunk line.
"""

import re
from typing import Final

# Size of a chunk: at most 2^60; extensions are read, bounded, and dropped. Bare CR or LF, NUL and
# other controls inside an extension are refused: they are where readers of chunks differ.
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n")
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")


class BodyMalformedError(Exception):
    """The body's framing is broken; the connection cannot be used any further."""


class BodyTooLargeError(Exception):
    """A bound on chunk lines, trailers or the whole body was passed."""


class LengthBody:
    """A body of a known number of bytes."""

    __slots__ = ("ended", "left", "rest")
    is_behind: Final = False
    waiting: Final = 0

    def __init__(self, length: int) -> None:
        self.left = length
        self.ended = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`."""
        size = len(data)
        left = self.left
        if size < left:
            self.left = left - size
            return data
        self.ended = True
        self.left = 0
        if size == left:
            return data
        self.rest = data[left:]
        return data[:left]


class UntilCloseBody:
    """A body that ends when its connection does; only responses have such."""

    __slots__ = ("ended", "rest")

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        return data


class ChunkedBody:
    """A chunked body; chunk extensions and trailers are dropped.

    Args:
        line_bytes: bound on one chunk line with its extensions.
        trailer_bytes: bound on all trailers together.
        most_chunks: read by one call of `feed`, about; the rest waits for the next (0.5 µs each:
            who sends them one byte at a time must not hold up everybody else). 0 for all.

    Attributes:
        is_behind: `feed` stopped early, and should be called again, with no more octets.
    """

    __slots__ = (
        "_buffer", "_left", "_line_bytes", "_most_chunks", "_state", "_trailer_left", "ended",
        "is_behind", "rest",
    )  # fmt: skip

    _LINE, _PAYLOAD, _AFTER_PAYLOAD, _TRAILER = range(4)

    def __init__(self, line_bytes: int, trailer_bytes: int, most_chunks: int = 0) -> None:
        self._line_bytes = line_bytes
        self._trailer_left = trailer_bytes
        self._most_chunks = most_chunks
        self._state = self._LINE
        self._left = 0
        self._buffer = b""
        self.ended = False
        self.is_behind = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`, chunks joined.

        Raises:
            BodyMalformedError: the framing is broken.
            BodyTooLargeError: a chunk line or the trailers pass their bound.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        at = 0
        size = len(data)
        self.is_behind = False
        while at < size and not self.ended:
            if self._state == self._PAYLOAD:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = self._AFTER_PAYLOAD
                continue
            if self._state == self._LINE:
                at = self._whole_chunks(data, at, pieces)
                if self._most_chunks and len(pieces) >= self._most_chunks:
                    self.is_behind = at < size
                    break
                if at == size:
                    break
            end = self._line_end(data, at)
            if end < 0:
                break
            self._read_line(data, at, end)
            at = end + 2
        if self.ended:
            self.rest = data[at:]
        elif at < size:
            self._buffer = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def waiting(self) -> int:
        """Octets that `feed` was given and has not read."""
        return len(self._buffer)

    def _whole_chunks(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Add chunks that are there from line to CRLF, plainly; where the rest begins.

        The hot loop of small chunks: what is odd or incomplete is left to the careful one.
        """
        line, longest = _CHUNK_LINE.match, self._line_bytes
        most = self._most_chunks or len(data)
        while len(pieces) < most and (found := line(data, at)) is not None:
            begin = found.end()
            end = begin + int(found[1], 16)
            if end == begin or data[end : end + 2] != b"\r\n" or begin - at > longest + 2:
                break
            pieces.append(data[begin:end])
            at = end + 2
        return at

    def _line_end(self, data: bytes, at: int) -> int:
        """Index of the CRLF that ends the line begun at `at`, or -1 when it has not come yet."""
        if self._state == self._AFTER_PAYLOAD:
            # Nothing may stand between the payload and its CRLF: say so at the first byte.
            if not b"\r\n".startswith(data[at : at + 2]):
                raise BodyMalformedError("a chunk is longer than its size")
            bound = 2
        else:
            bound = self._line_bytes if self._state == self._LINE else self._trailer_left
        end = data.find(b"\r\n", at, at + bound + 2)
        if end < 0:
            if len(data) - at > bound + 1:
                raise BodyTooLargeError("a chunk line or the trailers are too long")
            if data.find(b"\n", at) >= 0:
                # Who ends lines in LF alone would wait with us for a CRLF that never comes.
                raise BodyMalformedError("a bare LF in a chunk line or trailer")
        return end

    def _read_line(self, data: bytes, at: int, end: int) -> None:
        """Read the line `data[at:end]`, which a CRLF follows."""
        if self._state == self._AFTER_PAYLOAD:
            self._state = self._LINE
            return
        if self._state == self._LINE:
            found = _CHUNK_LINE.fullmatch(data, at, end + 2)
            if found is None:
                raise BodyMalformedError("a chunk size is malformed")
            self._left = int(found[1], 16)
            self._state = self._PAYLOAD if self._left else self._TRAILER
            return
        line = data[at:end]
        if not line:
            self.ended = True
            return
        if _TRAILER_LINE.fullmatch(line) is None:
            raise BodyMalformedError("a trailer is malformed")
        self._trailer_left -= len(line) + 2
        if self._trailer_left < 0:
            raise BodyTooLargeError("the trailers are too long")


BodyReader = LengthBody | ChunkedBody | UntilCloseBody

LAST_CHUNK: Final = b"0\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    """`payload` as one chunk. Empty payload would end the body, so it gives nothing."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
