"""The trace context of a request (W3C Trace Context, level 2): read strictly, and continued.

Pure. Two fields: ``traceparent`` names the trace and the span that asks, ``tracestate`` is what
other tracers add; it means something only to them, and only beside its traceparent.
"""

import re
from typing import Final

from sidecar.model.head import RequestHead

SAMPLED: Final = 0x01
# The right-most seven bytes of the trace id are random (level 2, section 3.2.2.5).
RANDOM: Final = 0x02
# As it stands in a field: version, trace id, parent id, flags; 55 characters.
LENGTH: Final = 55
# Later versions may add to the end of it, and to the end only (section 3.2.4).
_TRACEPARENT: Final = re.compile(
    rb"(?:00|(?!00|ff)[0-9a-f]{2}(?=.{53}(?:-|\Z)))"
    rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_LONGEST: Final = 512


def received(head: RequestHead) -> bytes | None:
    """The caller's traceparent as version 00; None where there is none, or none that is valid."""
    value = head.value(b"traceparent")
    if value is None or b"traceparent" in head.names.repeated:
        return None
    if len(value) == LENGTH:
        if _TRACEPARENT.fullmatch(value) is None:
            return None
        return value if value.startswith(b"00") else b"00" + value[2:]
    if len(value) > _LONGEST or value.startswith(b"00"):
        return None
    return b"00" + value[2:LENGTH] if _TRACEPARENT.match(value) else None


def is_sampled(traceparent: bytes) -> bool:
    """Whether whoever wrote a valid `traceparent` says that the trace is recorded."""
    return bool(int(traceparent[53:LENGTH], 16) & SAMPLED)


def is_random(traceparent: bytes) -> bool:
    """Whether its trace id was drawn at random."""
    return bool(int(traceparent[53:LENGTH], 16) & RANDOM)


def trace_id(traceparent: bytes) -> str:
    """The trace id, in hexadecimal."""
    return traceparent[3:35].decode("ascii")


def span_id(traceparent: bytes) -> str:
    """The id of the span that asks, in hexadecimal."""
    return traceparent[36:52].decode("ascii")


def continues(traceparent: bytes, head: RequestHead) -> bool:
    """Whether `traceparent` is of the trace that the caller named."""
    given = received(head)
    return given is not None and given[3:35] == traceparent[3:35]
