"""What a route's message rules say to the relay: one verdict for each message.

The contract between the relay, which moves bytes, and the rules, which read messages. A gate is
made for one connection and asked about one message at a time, in the order of their arrival, and
only where the route has rules. It reads whole messages: fragments are joined first, and nothing is
compressed (the extension is taken out of the handshake). What is allowed is forwarded as it came,
frame by frame; so what was read is what the other side reads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Protocol

from sidecar.authorize.permit import Permit
from sidecar.model.decision import Denial, Missing
from sidecar.model.need import Found, Need


class Direction(StrEnum):
    """Who sent a message."""

    CLIENT = "client"
    SERVER = "server"


class Kind(Enum):
    """What a message holds (RFC 6455 section 5.6); the value is the opcode of its first frame.

    The relay has verified that text is UTF-8.
    """

    TEXT = 0x1
    BINARY = 0x2


@dataclass(frozen=True, slots=True)
class Message:
    """A message of ours, sent as one frame."""

    kind: Kind
    payload: bytes


class Allowed(Enum):
    """The message goes on as it is."""

    ALLOW = "allow"


ALLOW: Final = Allowed.ALLOW


@dataclass(frozen=True, slots=True)
class Drop:
    """The message goes nowhere.

    Attributes:
        label: why, for metrics: a small closed set, such as ``not-granted`` or ``unknown-type``.
        to_client: what the client is told instead; None for nothing.
        to_upstream: what the upstream is told instead, such as the end of a subscription whose
            messages the principal may not read.
    """

    label: str
    to_client: Message | None = None
    to_upstream: Message | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """The message goes nowhere, and the connection ends.

    Attributes:
        label: why, for metrics.
        code: of the close frames to both sides, 4403 for what is not permitted (RFC 6455
            section 7.4.2 leaves 4000 to 4999 to private use).
        reason: text of the close frame, at most 123 bytes of UTF-8.
        to_client: what the client is told before.
    """

    label: str
    code: int
    reason: str
    to_client: Message | None = None


# `Missing`: facts have to be loaded first. The relay reads no further from that side, has them
# loaded within a bound, hands them to `Gate.loaded` and asks about the same message again.
Verdict = Allowed | Drop | Close | Missing


class Gate(Protocol):
    """Judges the messages of one connection."""

    def judge(self, direction: Direction, kind: Kind, payload: bytes) -> Verdict:
        """Whether this message may go on. Never raises: what cannot be read is refused.

        Args:
            direction: who sent it.
            kind: text or binary.
            payload: all of it.
        """
        ...

    def loaded(self, facts: Mapping[Need, Found | Denial]) -> None:
        """What was missing; empty where no store answered. Counts for the next question."""
        ...

    def renewed(self, permit: Permit) -> None:
        """The connection was decided about again: its principal or what it may do has changed.

        Everything remembered about what the principal may do is out of date. `permit.subject` can
        be asked what it may do now.
        """
        ...


# Makes the gate of one connection: its permit, and the subprotocol both sides agreed on (RFC 6455
# section 4.2.2; "" for none). None where the route has no message rules.
GateMaker = Callable[[Permit, str], Gate | None]
