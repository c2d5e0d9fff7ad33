"""A span as plain values: made only of what is kept, turned into the SDK's by `export`."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | tuple[str, ...]
Attributes: TypeAlias = dict[str, Value]

# The ids of our spans follow from that of the client span, which the upstream was told; so nothing
# else has to be kept of a request that may turn out to be one of those that are kept.
_SERVER = 0x5163_8A2D_0F4E_97B1
_LOAD = 0x2B7D_19C6_E3A0_584F


class Kind(Enum):
    """OpenTelemetry's kinds that occur here."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(slots=True)
class Event:
    """Something that happened at a moment of a span; `at_ns` since the epoch."""

    name: str
    at_ns: int
    attributes: Attributes


@dataclass(slots=True)
class Link:
    """Another span that has to do with this one."""

    trace_id: int
    span_id: int
    is_sampled: bool
    attributes: Attributes


@dataclass(slots=True)
class Span:
    """One span.

    Attributes:
        name: of low cardinality.
        kind: which side of a call.
        trace_id: 128 bits.
        span_id: 64 bits.
        parent_id: of the span it belongs to; 0 for none.
        is_parent_remote: whether another process made that one.
        is_sampled: whether others were told that it is recorded.
        begun_ns: nanoseconds since the epoch.
        ended_ns: the same.
        attributes: names are those of `names`.
        error: what failed; None for nothing.
        events: in the order of their times.
        links: to other spans.
    """

    name: str
    kind: Kind
    trace_id: int
    span_id: int
    parent_id: int
    begun_ns: int
    ended_ns: int
    attributes: Attributes
    is_parent_remote: bool = False
    is_sampled: bool = True
    error: str | None = None
    events: list[Event] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


def server_id(client_id: int) -> int:
    """Id of the server span of a request whose client span has this id."""
    return client_id ^ _SERVER or _SERVER


def load_id(client_id: int) -> int:
    """Id of the span of its look-ups."""
    return client_id ^ _LOAD or _LOAD
