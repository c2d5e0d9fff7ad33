"""How long a message's body is: RFC 9112 section 6, the strict reading.

llhttp reads heads; where bodies begin and end is decided here, for both directions, in two small
tables. Anything with two readings is refused (PROMISES 5).
"""

import re
from typing import Final

from sidecar.model.decision import Denial
from sidecar.model.head import Fields
from sidecar.model.reason import Reason

# 18 digits stay below 2^63.
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")

# Returned by `response_length` for a body that ends when the connection does.
UNTIL_CLOSE: Final = -1


class UpstreamMalformedError(Exception):
    """The upstream sent a message that has no single reading."""


def request_length(fields: Fields, minor: int) -> int | Denial | None:
    """Length of a request's body in bytes; None for chunked (RFC 9112 section 6.3)."""
    coding = fields.value(b"transfer-encoding")
    length = fields.value(b"content-length")
    repeated = fields.names.repeated
    if coding is None:
        if length is None:
            return 0
        if b"content-length" in repeated or _LENGTH.fullmatch(length) is None:
            return Denial(Reason.AMBIGUOUS_FRAMING, "Content-Length is not one decimal number")
        return int(length)
    if length is not None:
        return Denial(Reason.AMBIGUOUS_FRAMING, "both Transfer-Encoding and Content-Length")
    if minor == 0:
        return Denial(Reason.AMBIGUOUS_FRAMING, "Transfer-Encoding in HTTP/1.0")
    if b"transfer-encoding" in repeated:
        return Denial(Reason.AMBIGUOUS_FRAMING, "several Transfer-Encoding fields")
    if coding.lower() != b"chunked":
        return Denial(Reason.UNSUPPORTED_FRAMING, "a transfer coding other than chunked")
    return None


def response_length(method: str, status: int, minor: int, fields: Fields) -> int | None:
    """Length of a response's body in bytes; None for chunked, `UNTIL_CLOSE` for the rest.

    Raises:
        UpstreamMalformedError: the framing fields contradict each other or are malformed.
    """
    coding = None
    if b"transfer-encoding" in fields.names.of_message:
        coding = fields.value(b"transfer-encoding")
    length = fields.value(b"content-length")
    repeated = fields.names.repeated
    if coding is not None:
        if length is not None:
            raise UpstreamMalformedError("both Transfer-Encoding and Content-Length")
        if minor == 0 or b"transfer-encoding" in repeated or coding.lower() != b"chunked":
            raise UpstreamMalformedError("a Transfer-Encoding other than one chunked")
    elif length is not None and (
        b"content-length" in repeated or _LENGTH.fullmatch(length) is None
    ):
        raise UpstreamMalformedError("Content-Length is not one decimal number")
    if method == "HEAD" or status in {204, 304} or status < 200:
        return 0
    if coding is not None:
        return None
    return UNTIL_CLOSE if length is None else int(length)
