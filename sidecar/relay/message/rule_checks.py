"""What can be wrong with one message rule, as (key, message) for its author."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sidecar.relay.gate import Direction
from sidecar.relay.message.graphql import NEXT, SUBSCRIBE, TYPES
from sidecar.relay.message.stomp import COMMANDS, is_header_value
from sidecar.relay.message.value import read_constant
from sidecar.route.access import wrong_access
from sidecar.settings.problem import nearest
from sidecar.settings.schema import MessageRule

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def wrong_with(rule: MessageRule) -> Iterator[tuple[str, str]]:
    """What is wrong with a rule whatever the protocol: (key, message)."""
    yield from wrong_access(rule, "'route', 'nobody'")
    if rule.fields and rule.resource is None:
        yield "fields", "without a resource nothing is made of them"


def wrong_with_graphql(
    rule: MessageRule, rules: Sequence[MessageRule]
) -> Iterator[tuple[str, str]]:
    """A client names its operation as it likes, and aliases what comes back."""
    if rule.topic is not None and not _NAME.fullmatch(rule.topic):
        yield "topic", "the name of one operation, in full"
    if (rule.direction, rule.type) == ("client", SUBSCRIBE):
        if bool(rule.documents) is rule.any_document:
            yield "documents", "list the documents, or say any_document: true; one of the two"
        if rule.any_document and (rule.topic is not None or rule.fields or rule.where):
            yield "any_document", "then neither names nor variables say what an operation does"
    elif rule.documents or rule.any_document:
        yield "documents", "only the client's `subscribe` has a document"
    elif any(each in rule.type for each in "*{"):
        yield "type", "the types of graphql-transport-ws are few: name one"
    yield from _wrong_type(rule, TYPES[Direction(rule.direction)], "type of graphql-transport-ws")
    yield from _wrong_beginnings(rule, ("payload",), "GraphQL")
    if (rule.direction, rule.type) == ("server", NEXT):
        if rule.topic is None and (rule.fields or rule.where):
            yield "topic", "an answer has the shape that the document gives it: name the operation"
        if rule.topic is not None and not registered_documents(rule.topic, rules):
            yield "topic", "no rule for `subscribe` lists documents for this operation"
    elif rule.topic is not None and rule.type != SUBSCRIBE:
        yield "topic", "only `subscribe` and `next` belong to a named operation"
    if any(not _DIGEST.fullmatch(each) for each in rule.documents):
        yield "documents", "each is a SHA-256, 64 digits 0-9 and a-f"


def registered_documents(topic: str, rules: Iterable[MessageRule]) -> frozenset[str]:
    """The documents under which clients may run the operation `topic`."""
    return frozenset(
        digest
        for rule in rules
        if rule.type == SUBSCRIBE and rule.topic == topic
        for digest in rule.documents
    )


def wrong_with_json_rpc(rule: MessageRule) -> Iterator[tuple[str, str]]:
    """Pointers begin at the object of a call."""
    yield from _wrong_beginnings(rule, ("params", "result", "error"), "JSON-RPC")


def wrong_with_stomp(rule: MessageRule) -> Iterator[tuple[str, str]]:
    """Pointers lead to headers, which are text, or into the body."""
    yield from _wrong_beginnings(rule, ("headers", "body"), "STOMP")
    yield from _wrong_type(rule, COMMANDS[Direction(rule.direction)], "command of STOMP")
    for place, asked in rule.where.items():
        if not place.startswith("/headers/"):
            continue
        if not _is_text(asked):
            yield "where", f"headers are text: write '\"{asked}\"'"
        elif not is_header_value(asked):
            yield "where", "a header with a colon, a backslash or what nobody sees is never read"


def _wrong_beginnings(
    rule: MessageRule, names: Sequence[str], protocol: str
) -> Iterator[tuple[str, str]]:
    for key, places in (("where", tuple(rule.where)), ("fields", tuple(rule.fields.values()))):
        for place in places:
            if place.split("/")[1:2] not in [[name] for name in names]:
                known = ", ".join(f"/{name}" for name in names)
                yield key, f"pointers of {protocol} begin with {known}"


def _wrong_type(rule: MessageRule, known: Iterable[str], what: str) -> Iterator[tuple[str, str]]:
    """A type that no message of this side has."""
    if rule.type in known or any(each in rule.type for each in "*{"):
        return
    meant = nearest(rule.type, known)
    guess = f": did you mean '{meant}'?" if meant else ""
    yield "type", f"no {what} that the {rule.direction} sends{guess}"


def _is_text(asked: str) -> bool:
    try:
        return isinstance(read_constant(asked), str)
    except ValueError:
        # Told elsewhere.
        return True
