"""What a client may send before it is complete."""

from sidecar.forward.exchange import Exchange
from sidecar.model.decision import Denial
from sidecar.model.reason import Reason
from sidecar.parse.body import ChunkedBody, LengthBody
from sidecar.settings.schema import Limits

# Read before others have their turn: half a millisecond's work.
_CHUNKS_AT_ONCE = 1024
# The longest method and version beside a target, with room to spare.
_START_LINE_BYTES = 64


def refuse_unfinished(head: bytes, limits: Limits) -> Denial | None:
    """Why the rest of a `head` is not waited for; None where it is.

    An empty line may stand before the head (RFC 9112 section 2.2).
    """
    longest = limits.target_bytes + _START_LINE_BYTES
    if len(head) > longest and head.find(b"\r\n", 2, longest + 2) < 0:
        return Denial(Reason.TARGET_TOO_LONG, f"over {limits.target_bytes} bytes")
    if len(head) > limits.head_bytes:
        return Denial(Reason.HEAD_TOO_LARGE, f"over {limits.head_bytes} bytes")
    return None


def goes_on(exchange: Exchange | None) -> bool:
    """Whether the client would send another request, not knowing yet that it cannot."""
    return exchange is not None and exchange.head.keep_alive


def body_reader(length: int | None, limits: Limits) -> LengthBody | ChunkedBody | None:
    """What reads a body of the announced `length` (None: chunked); None where it is too large."""
    if length is None:
        return ChunkedBody(limits.chunk_line_bytes, limits.trailer_bytes, _CHUNKS_AT_ONCE)
    if limits.body_bytes and length > limits.body_bytes:
        return None
    return LengthBody(length)
