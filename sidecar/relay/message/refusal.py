"""Why a message was refused: one closed set, told to the sender and counted under these codes."""

from enum import StrEnum


class Refusal(StrEnum):
    """A code, in the protocol's own error message and as label of metrics."""

    # Not a message of the protocol, or one with two readings.
    UNREADABLE = "unreadable-message"
    TOO_LARGE = "message-too-large"
    # Too many operations of one connection, or two under one name.
    UNKNOWN_OPERATION = "unknown-operation"
    # Both sides agreed on another protocol than the one that the route reads.
    WRONG_SUBPROTOCOL = "wrong-subprotocol"
    # No rule speaks of it.
    UNKNOWN_TYPE = "unknown-type"
    # The rule speaks of a resource, and the message does not name one clearly.
    UNCLEAR_RESOURCE = "unclear-resource"
    # The rule has a schema, and the message is not as it says.
    INVALID = "invalid-message"
    # The rule says: nobody.
    FORBIDDEN = "forbidden"
    NOT_GRANTED = "not-granted"
    DENIED_BY_RULE = "denied-by-rule"
    # Another call of the same batch was refused.
    BATCH_REFUSED = "batch-refused"
    # A bug of ours or of a hook.
    INTERNAL_ERROR = "internal-error"


# What people are told beside the code. Nothing of the message is repeated.
WORDS: dict[Refusal, str] = {
    Refusal.UNREADABLE: "the message cannot be read in exactly one way",
    Refusal.TOO_LARGE: "the message is too large to be read",
    Refusal.UNKNOWN_OPERATION: "the operation is not known, or its id is used already",
    Refusal.WRONG_SUBPROTOCOL: "messages of this protocol cannot be read here",
    Refusal.UNKNOWN_TYPE: "messages of this type are not accepted",
    Refusal.UNCLEAR_RESOURCE: "the message does not say clearly which resource is meant",
    Refusal.INVALID: "the message is not of the form that is asked for",
    Refusal.FORBIDDEN: "messages of this type are not accepted",
    Refusal.NOT_GRANTED: "not permitted",
    Refusal.DENIED_BY_RULE: "not permitted",
    Refusal.BATCH_REFUSED: "not sent: another call of the batch was refused",
    Refusal.INTERNAL_ERROR: "the message could not be judged",
}


class UnreadableError(Exception):
    """A message that is no message of the protocol, or has more than one reading.

    Attributes:
        refusal: the code.
        close_code: what the protocol closes the connection with; 0 where it does not ask for that.
    """

    def __init__(
        self, detail: str, *, refusal: Refusal = Refusal.UNREADABLE, close_code: int = 0
    ) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.close_code = close_code
