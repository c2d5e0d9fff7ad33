"""A call: one thing that a message says or asks for. A batch has several."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from sidecar.relay.gate import Close, Direction, Drop, Kind, Message
from sidecar.relay.message.pointer import MISSING
from sidecar.relay.message.refusal import Refusal, UnreadableError


class Call:
    """What rules look at. Plain slots: one is made for each message.

    Attributes:
        type: ``orders.read``, ``SEND``, ``subscribe``.
        topic: what it is about, where the protocol names that beside the type: a destination, an
            operation; None for nothing.
        fields: what JSON pointers find their way in.
        id: what an error reply refers to; `MISSING` where nobody waits for one.
        is_control: part of the protocol itself; goes on where no rule speaks of it.
        digest: SHA-256 of its GraphQL document, in hexadecimal; ``""`` where it has none.
    """

    __slots__ = ("digest", "fields", "id", "is_control", "topic", "type")

    def __init__(
        self,
        type: str,  # noqa: A002 - the word of the rules
        topic: str | None = None,
        fields: Any = MISSING,
        id: Any = MISSING,  # noqa: A002 - the word of the protocols
        *,
        is_control: bool = False,
        digest: str = "",
    ) -> None:
        self.type = type
        self.topic = topic
        self.fields = fields
        self.id = id
        self.is_control = is_control
        self.digest = digest


Calls = Sequence[Call]
# For each call why it was refused; None for a call that could go on.
Refusals = Sequence[Refusal | None]


class Reader(Protocol):
    """Reads the messages of one connection, and speaks the protocol's language of errors."""

    def read(self, direction: Direction, kind: Kind, payload: bytes) -> Calls:
        """What a message says: one call, several for a batch, never none.

        Raises:
            UnreadableError: it is no message of the protocol, or has more than one reading.
        """
        ...

    def allowed(self, direction: Direction, calls: Calls) -> None:
        """These calls go on; for protocols whose later messages depend on earlier ones."""
        ...

    def refused(self, calls: Calls, refusals: Refusals) -> Drop | Close:
        """How the client is told that its message goes nowhere; some refusal is not None."""
        ...

    def withheld(self, calls: Calls, refusals: Refusals) -> Drop:
        """How both sides are told, if at all, that the client may not read a message."""
        ...

    def unreadable(self, wrong: UnreadableError) -> Drop | Close:
        """How the client is told that nobody can read what it sent."""
        ...


# Close codes 4400 and 4403 after the status codes of HTTP (RFC 6455 section 7.4.2: private use).
UNREADABLE_CODE: Final = 4400
FORBIDDEN_CODE: Final = 4403
# Not refused to this sender: nobody may send it so.
_UNREADABLE: Final = frozenset({Refusal.INVALID, Refusal.UNREADABLE})


def close_code(refusal: Refusal) -> int:
    """What a connection is closed with because of a refusal; 4400 for a message of wrong form."""
    return UNREADABLE_CODE if refusal in _UNREADABLE else FORBIDDEN_CODE


def first_of(refusals: Refusals) -> Refusal:
    """The refusal that a message as a whole is counted under: not the one its neighbours cause."""
    found = [each for each in refusals if each is not None]
    own = [each for each in found if each is not Refusal.BATCH_REFUSED]
    return (own or found)[0]


def close_unreadable(wrong: UnreadableError) -> Close:
    """Close because of a message that cannot be read."""
    return Close(wrong.refusal.value, wrong.close_code or UNREADABLE_CODE, wrong.refusal.value)


def text(payload: bytes) -> Message:
    """A text message of ours."""
    return Message(Kind.TEXT, payload)
