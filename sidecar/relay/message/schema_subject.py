"""Which part of a message the schema of a rule is about, by protocol."""

from typing import Any, Final

from sidecar.relay.message.graphql import NEXT, SUBSCRIBE
from sidecar.relay.message.json_rpc import RESPONSE
from sidecar.relay.message.pattern import Pattern, PatternError
from sidecar.relay.message.pointer import MISSING, Pointer
from sidecar.settings.schema import MessageRule, Messages

# Where the part stands, and what counts where it is left out (`MISSING`: then nothing will do).
Subject = tuple[Pointer, Any]

# STOMP: direction and command of the frames whose bodies are anybody's.
_WITH_BODY: Final = frozenset({("client", "SEND"), ("server", "MESSAGE")})


def subject_of(rule: MessageRule, settings: Messages) -> Subject | str:
    """The part that the schema of `rule` is about, or why it can have none, for its author."""
    if rule.access == "nobody":
        return "nobody may send these anyway"
    if settings.protocol == "json-rpc":
        return _of_json_rpc(rule)
    if settings.protocol == "stomp":
        return _of_stomp(rule)
    if settings.protocol == "graphql-transport-ws":
        return _of_graphql(rule)
    return Pointer(""), MISSING


def _of_json_rpc(rule: MessageRule) -> Subject | str:
    try:
        answers = Pattern(rule.type).match(RESPONSE) is not None
    except PatternError:
        # Told elsewhere.
        answers = False
    if answers:
        return f"is about params, and a response ({RESPONSE}) has none: give a type without it"
    # Section 4.2 lets a call leave its params out.
    return Pointer("/params"), {}


def _of_stomp(rule: MessageRule) -> Subject | str:
    if (rule.direction, rule.type) not in _WITH_BODY:
        return "is about bodies: only SEND of clients and MESSAGE of the application have one"
    return Pointer("/body"), MISSING


def _of_graphql(rule: MessageRule) -> Subject | str:
    if (rule.direction, rule.type) == ("client", SUBSCRIBE):
        if rule.any_document:
            return "is about variables, and any document may do without them: list `documents`"
        return Pointer("/payload/variables"), {}
    if (rule.direction, rule.type) == ("server", NEXT):
        if rule.topic is None:
            return "an answer has the shape that the document gives it: name the operation"
        return Pointer("/payload"), MISSING
    return f"is about the variables of `{SUBSCRIBE}` or the payload of the application's `{NEXT}`"
