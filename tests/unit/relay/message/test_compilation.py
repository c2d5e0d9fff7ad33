"""What is wrong with message rules is told at load, each at its place."""

from typing import Any, Final

import pytest

from sidecar.relay.message.compilation import compile_messages
from sidecar.relay.message.graphql import GraphqlReader
from sidecar.relay.message.json_rpc import JsonRpcReader
from sidecar.relay.message.plain import HookReader, PlainReader
from sidecar.relay.message.problems import MessagesError
from sidecar.relay.message.stomp import StompReader
from sidecar.settings.schema import RouteRule
from tests.cases.messages.world import policy_of, route_of

DIGEST: Final = "ab" * 32
FINE: Final[dict[str, Any]] = {"type": "x", "access": "route"}
JSON: Final[dict[str, Any]] = {"protocol": "json", "refused": "drop", "rules": [FINE]}
RPC: Final[dict[str, Any]] = {"protocol": "json-rpc", "rules": [FINE]}
SCHEMA: Final[dict[str, Any]] = {"type": "object"}
STOMP: Final[dict[str, Any]] = {"protocol": "stomp", "rules": [{**FINE, "type": "SEND"}]}
GRAPHQL: Final[dict[str, Any]] = {
    "protocol": "graphql-transport-ws",
    "rules": [{"type": "complete", "access": "route"}],
}


def rules(base: dict[str, Any], *given: dict[str, Any]) -> dict[str, Any]:
    return {**base, "rules": list(given)}


def asks(**given: Any) -> dict[str, Any]:
    return {"type": "x", "permission": "a:b", **given}


WRONG: Final[list[tuple[str, dict[str, Any], str, str]]] = [
    ("nothing said", rules(JSON, {"type": "x"}), "rules[0].access", "say 'route'"),
    ("both said", rules(JSON, asks(access="route")), "rules[0].access", "one of the two"),
    ("no action", rules(JSON, asks(permission="a:*")), "rules[0].permission", "not an action"),
    ("no pattern", rules(JSON, {**FINE, "type": ""}), "rules[0].type", "1 to 1024"),
    ("half a brace", rules(JSON, {**FINE, "type": "a{b"}), "rules[0].type", "brace"),
    ("part of a segment", rules(JSON, {**FINE, "type": "a*"}), "rules[0].type", "whole segment"),
    ("a tail before", rules(JSON, {**FINE, "type": "**.a"}), "rules[0].type", "the last"),
    ("a name twice", rules(JSON, {**FINE, "type": "{a}.{a}"}), "rules[0].type", "twice"),
    ("too many parts", rules(JSON, {**FINE, "type": "*." * 8 + "*"}), "rules[0].type", "at most"),
    ("no topics", rules(JSON, {**FINE, "topic": "t"}), "rules[0].topic", "topic_pointer"),
    ("no topics here", rules(RPC, {**FINE, "topic": "t"}), "rules[0].topic", "have none"),
    ("no pointer", rules(JSON, {**FINE, "where": {"a": "b"}}), "rules[0].where.a", "begins with"),
    (
        "an odd escape",
        rules(JSON, {**FINE, "where": {"/a~2": "b"}}),
        "rules[0].where./a~2",
        "'~0'",
    ),
    (
        "a pointer without end",
        rules(JSON, {**FINE, "where": {"/a" * 17: "b"}}),
        "rules[0].where." + "/a" * 17,
        "at most 16",
    ),
    (
        "no constant",
        rules(JSON, {**FINE, "where": {"/a": '"b'}}),
        "rules[0].where./a",
        "string of JSON",
    ),
    (
        "a resource for nothing",
        rules(JSON, {**FINE, "resource": "r"}),
        "rules[0].resource",
        "without a permission",
    ),
    (
        "fields for nothing",
        rules(JSON, asks(fields={"a": "/a"})),
        "rules[0].fields",
        "without a resource",
    ),
    (
        "a field for nothing",
        rules(JSON, asks(resource="r", fields={"a": "/a"})),
        "rules[0].fields.a",
        "nothing is made of it",
    ),
    (
        "no name",
        rules(JSON, asks(resource="r/{a}", fields={"a b": "/a"})),
        "rules[0].fields.a b",
        "letters",
    ),
    (
        "an unknown name",
        rules(JSON, asks(resource="r/{a}")),
        "rules[0].resource",
        "unknown parameter 'a' (known are: shop)",
    ),
    (
        "a name of the route",
        rules(JSON, asks(resource="r/{shop}", fields={"shop": "/a"})),
        "rules[0].fields.shop",
        "already",
    ),
    (
        "a name of the pattern",
        rules(JSON, asks(type="x.{a}", resource="r/{a}", fields={"a": "/a"})),
        "rules[0].fields.a",
        "already",
    ),
    (
        "a name of the route in a pattern",
        rules(JSON, asks(type="x.{shop}", resource="r/{shop}")),
        "rules[0].topic",
        "already",
    ),
    ("a wildcard", rules(JSON, asks(resource="r/*")), "rules[0].resource", "wildcards"),
    ("never reached", rules(JSON, FINE, FINE), "rules[1].type", "rules[0] decides"),
    *(
        (
            f"{later} behind {first}",
            rules(RPC, {**FINE, "type": first}, {**FINE, "type": later}),
            "rules[1].type",
            "rules[0] decides",
        )
        for first, later in (
            ("**", "admin.x"),
            ("*", "stop"),
            ("*", "a.b"),
            ("admin.*", "admin.x"),
            ("{a*}", "admin.{b}.c"),
            ("**", "text/*"),
            ("admin.**", "admin.{rest*}"),
            ("text/*", "text/{x}"),
        )
    ),
    (
        "all topics before one",
        rules(
            STOMP,
            {**FINE, "type": "SEND", "topic": "/queue/*"},
            {"type": "SEND", "topic": "/queue/a", "access": "nobody", "where": {"/headers/a": "b"}},
        ),
        "rules[1].type",
        "rules[0] decides",
    ),
    ("a command in lower case", rules(STOMP, {**FINE, "type": "send"}), "rules[0].type", "'SEND'"),
    (
        "a command of the other side",
        rules(STOMP, {**FINE, "type": "MESSAGE"}),
        "rules[0].type",
        "that the client sends",
    ),
    (
        "a header with a colon",
        rules(STOMP, {**FINE, "type": "SEND", "where": {"/headers/a": "b:c"}}),
        "rules[0].where",
        "never read",
    ),
    (
        "a type with an error",
        rules(GRAPHQL, {**FINE, "type": "nxt", "direction": "server"}),
        "rules[0].type",
        "'next'",
    ),
    (
        "the type of the other side",
        rules(GRAPHQL, {**FINE, "type": "error"}),
        "rules[0].type",
        "that the client sends",
    ),
    (
        "variables without payload",
        rules(
            GRAPHQL,
            {**FINE, "type": "subscribe", "documents": [DIGEST], "where": {"/variables/id": "a"}},
        ),
        "rules[0].where",
        "begin with /payload",
    ),
    (
        "a pointer with an error",
        rules(RPC, {**FINE, "where": {"/param/a": "b"}}),
        "rules[0].where",
        "begin with /params",
    ),
    *(
        (
            f"{asked} can never be",
            rules(JSON, {**FINE, "where": {"/a": asked}}),
            "rules[0].where./a",
            "whole numbers up to",
        )
        for asked in ("1.5", "1e3", "-0", "True", "NULL", "+1", "9007199254740992", "1" * 17)
    ),
    ("a space behind", rules(JSON, {**FINE, "type": "admin "}), "rules[0].type", "a space"),
    ("no such thing to fill in", {**JSON, "error": '{"e": ["{ID}"]}'}, "error", "'{ID}'"),
    ("within other text", {**JSON, "error": '{"e": "no {id}"}'}, "error", "whole strings"),
    (
        "no name of a header",
        {**STOMP, "subscribe_headers": ["a:b"]},
        "subscribe_headers[0]",
        "letters",
    ),
    ("nowhere in particular", {**JSON, "type_pointer": ""}, "type_pointer", "an object"),
    (
        "documents elsewhere",
        rules(JSON, {**FINE, "documents": [DIGEST]}),
        "rules[0].documents",
        "only",
    ),
    ("a pointer for others", {**RPC, "type_pointer": "/op"}, "type_pointer", "`json` only"),
    ("a bad pointer", {**JSON, "id_pointer": "id"}, "id_pointer", "begins with"),
    ("no error message", {**JSON, "refused": "reply"}, "refused", "give one"),
    ("no JSON", {**JSON, "error": "{"}, "error", "must be JSON"),
    ("an error for others", {**STOMP, "error": "{}"}, "error", "of their own"),
    ("headers for others", {**RPC, "subscribe_headers": ["x"]}, "subscribe_headers", "only"),
    ("no hook", {**JSON, "protocol": "hook"}, "hook", "needs one"),
    ("a hook for others", {**JSON, "hook": "a:b"}, "hook", "only"),
    ("no name of a hook", {**JSON, "protocol": "hook", "hook": "a.b"}, "hook", "module:function"),
    (
        "no module",
        {**JSON, "protocol": "hook", "hook": "no_such_module:f"},
        "hook",
        "cannot be imported",
    ),
    ("no function", {**JSON, "protocol": "hook", "hook": "json:f"}, "hook", "no function"),
    ("longer than is read", {**JSON, "longest_bytes": 2_000_000}, "longest_bytes", "read_bytes"),
    (
        "neither header nor body",
        rules(STOMP, {**FINE, "where": {"/receipt": "1"}}),
        "rules[0].where",
        "begin with /headers, /body",
    ),
    (
        "nor as field",
        rules(STOMP, asks(resource="r/{a}", fields={"a": "/x"})),
        "rules[0].fields",
        "begin with /headers, /body",
    ),
    (
        "a header that is a number",
        rules(STOMP, {**FINE, "where": {"/headers/a": "3"}}),
        "rules[0].where",
        "write '\"3\"'",
    ),
    (
        "a header that is no constant",
        rules(STOMP, {**FINE, "where": {"/headers/a": '"3'}}),
        "rules[0].where./headers/a",
        "string of JSON",
    ),
    ("unlisted operations", {**GRAPHQL, "unknown": "allow"}, "unknown", "would pass"),
    (
        "no documents",
        rules(GRAPHQL, {**FINE, "type": "subscribe"}),
        "rules[0].documents",
        "list the documents",
    ),
    (
        "no digest",
        rules(GRAPHQL, {**FINE, "type": "subscribe", "documents": ["x"]}),
        "rules[0].documents",
        "SHA-256",
    ),
    (
        "a name that binds nobody",
        rules(GRAPHQL, {**FINE, "type": "subscribe", "any_document": True, "topic": "A"}),
        "rules[0].any_document",
        "neither names",
    ),
    (
        "no name of an operation",
        rules(GRAPHQL, {**FINE, "type": "subscribe", "documents": [DIGEST], "topic": "a.b"}),
        "rules[0].topic",
        "in full",
    ),
    (
        "documents of others",
        rules(GRAPHQL, {**FINE, "type": "ping", "documents": [DIGEST]}),
        "rules[0].documents",
        "only the client's",
    ),
    ("a pattern of types", rules(GRAPHQL, {**FINE, "type": "*"}), "rules[0].type", "name one"),
    (
        "a topic of others",
        rules(GRAPHQL, {**FINE, "type": "ping", "topic": "A"}),
        "rules[0].topic",
        "belong",
    ),
    (
        "an answer of any shape",
        rules(
            GRAPHQL,
            asks(type="next", direction="server", resource="r/{a}", fields={"a": "/payload/a"}),
        ),
        "rules[0].topic",
        "shape",
    ),
    (
        "a schema with a slip",
        rules(JSON, {**FINE, "schema": {"type": "object", "requird": ["a"]}}),
        "rules[0].schema.requird",
        "no keyword",
    ),
    (
        "a schema for nobody",
        rules(JSON, {"type": "x", "access": "nobody", "schema": SCHEMA}),
        "rules[0].schema",
        "nobody may",
    ),
    (
        "a schema for responses",
        rules(RPC, {**FINE, "type": "*", "schema": SCHEMA}),
        "rules[0].schema",
        "rpc.response",
    ),
    (
        "a schema for frames without body",
        rules(STOMP, {**FINE, "type": "SUBSCRIBE", "schema": SCHEMA}),
        "rules[0].schema",
        "bodies",
    ),
    (
        "a schema for what the client does not send",
        rules(STOMP, {**FINE, "type": "MESSAGE", "schema": SCHEMA}),
        "rules[0].schema",
        "bodies",
    ),
    (
        "a schema of any document",
        rules(GRAPHQL, {**FINE, "type": "subscribe", "any_document": True, "schema": SCHEMA}),
        "rules[0].schema",
        "list `documents`",
    ),
    (
        "a schema of any answer",
        rules(GRAPHQL, {**FINE, "type": "next", "direction": "server", "schema": SCHEMA}),
        "rules[0].schema",
        "name the operation",
    ),
    (
        "a schema of a ping",
        rules(GRAPHQL, {**FINE, "type": "ping", "schema": SCHEMA}),
        "rules[0].schema",
        "variables",
    ),
    (
        "an operation that nobody registered",
        rules(GRAPHQL, asks(type="next", direction="server", topic="A")),
        "rules[0].topic",
        "lists documents",
    ),
]


def written(place: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)[1:]


@pytest.mark.parametrize(
    ("messages", "place", "words"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG]
)
def test_what_is_wrong_is_told_at_its_place(
    messages: dict[str, Any], place: str, words: str
) -> None:
    document = {"messages": messages, "route": {"path": "/shops/{shop}/ws"}}
    with pytest.raises(MessagesError) as caught:
        policy_of(document)
    problems = {written(each.place): each.message for each in caught.value.problems}
    assert words in problems.get(place, ""), problems
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("first", "later"),
    [("*", "a/b"), ("admin.*", "**"), ("a.*", "*.b"), ("a.{x}", "a.b.c")],
)
def test_what_is_left_for_a_later_rule_is_its_own(first: str, later: str) -> None:
    given = rules(RPC, {**FINE, "type": first}, {**FINE, "type": later})
    policy = policy_of({"messages": given})
    assert policy.settings.rules


@pytest.mark.parametrize("asked", ["1.2.3", "5-3", "9007199254740991", "-1", '"1.5"', "truth"])
def test_what_a_message_can_say_may_be_asked_for(asked: str) -> None:
    policy = policy_of({"messages": rules(JSON, {**FINE, "where": {"/a": asked}})})
    assert policy.settings.rules


@pytest.mark.parametrize("said", ["{id}", "an {other} text", "{id", "id"])
def test_other_braces_stand_for_themselves(said: str) -> None:
    policy = policy_of({"messages": {**JSON, "error": f'{{"e": "{said}"}}'}})
    assert policy.settings.rules


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(MessagesError) as caught:
        policy_of({"messages": rules({**JSON, "error": "{"}, {"type": "x"}, {"type": "{"})})
    assert [written(each.place) for each in caught.value.problems] == [
        "error", "rules[0].access", "rules[1].access", "rules[1].type"
    ]  # fmt: skip


def test_a_broken_pattern_and_a_schema_are_told_once() -> None:
    with pytest.raises(MessagesError) as caught:
        policy_of({"messages": rules(RPC, {"type": "{", "access": "route", "schema": SCHEMA})})
    assert [written(each.place) for each in caught.value.problems] == ["rules[0].type"]


def test_permissions_need_somebody_who_asks() -> None:
    document = {"messages": rules(JSON, asks()), "route": {"access": "public"}}
    with pytest.raises(MessagesError, match="public route"):
        policy_of(document)


def test_a_route_without_rules_has_no_policy() -> None:
    with pytest.raises(ValueError, match="no message rules"):
        compile_messages(RouteRule(path="/ws", access="public"))


@pytest.mark.parametrize(
    ("messages", "reader"),
    [
        (JSON, PlainReader),
        (RPC, JsonRpcReader),
        (STOMP, StompReader),
        (GRAPHQL, GraphqlReader),
        ({**JSON, "protocol": "hook", "hook": "json:loads"}, HookReader),
    ],
)
def test_each_protocol_has_its_reader(messages: dict[str, Any], reader: type) -> None:
    policy = policy_of({"messages": messages})
    assert isinstance(policy.reader(), reader)
    assert policy.reader() is not policy.reader()


def test_checking_a_file_runs_nothing_that_it_names() -> None:
    messages = {**JSON, "protocol": "hook", "hook": "no_such_module:f"}
    policy = compile_messages(route_of({"messages": messages}), load_hooks=False)
    assert policy.hook is None


def test_bodies_are_read_where_only_a_schema_looks_at_them() -> None:
    formed = {**FINE, "type": "SEND", "schema": SCHEMA}
    assert policy_of({"messages": rules(STOMP, formed)}).reads_bodies
    assert not policy_of({"messages": STOMP}).reads_bodies
