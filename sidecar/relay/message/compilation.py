"""From a route's `websocket.messages` to its policy, with all that is wrong told at once."""

import re
from collections.abc import Iterator
from typing import Final

from sidecar.relay.gate import Direction
from sidecar.relay.message.graphql import NEXT, SUBSCRIBE
from sidecar.relay.message.hook import HookError, load_hook, parse_hook
from sidecar.relay.message.pattern import Pattern, PatternError
from sidecar.relay.message.plain import PLACEHOLDERS, ErrorTemplate, Hook
from sidecar.relay.message.policy import GRAPHQL, MessagePolicy
from sidecar.relay.message.problems import MessagesError, Place, Problems
from sidecar.relay.message.refusal import UnreadableError
from sidecar.relay.message.rule_checks import (
    registered_documents,
    wrong_with,
    wrong_with_graphql,
    wrong_with_json_rpc,
    wrong_with_stomp,
)
from sidecar.relay.message.rules import Rule, RuleSet
from sidecar.relay.message.schema import MessageSchema
from sidecar.relay.message.schema_subject import subject_of
from sidecar.relay.message.schema_validator import SchemaError
from sidecar.relay.message.stomp import is_header_name
from sidecar.route.template import TemplateError, check_resource
from sidecar.settings.problem import nearest
from sidecar.settings.schema import MessageRule, Messages, RouteRule

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Parameters of a path template that was compiled elsewhere.
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\*?\}")
_BODY: Final = "body"


def compile_messages(route: RouteRule, *, load_hooks: bool = True) -> MessagePolicy:
    """The policy of a route that has message rules.

    Args:
        route: the route; its `websocket.messages` is given.
        load_hooks: whether a hook is imported. Checking a file must not run what it names.

    Raises:
        MessagesError: if anything is wrong, all of it at once.
        ValueError: the route has no message rules.
    """
    if route.websocket is None or route.websocket.messages is None:
        raise ValueError("the route has no message rules")
    return _Building(route, route.websocket.messages).policy(load_hooks=load_hooks)


class _Building:
    """A policy in the making."""

    def __init__(self, route: RouteRule, settings: Messages) -> None:
        self.settings = settings
        self.is_public = route.access == "public"
        self.longest_bytes = route.websocket.read_bytes if route.websocket else 0
        self.of_route = tuple(found[1] for found in _PARAMETER.finditer(route.path))
        self.problems = Problems()

    def policy(self, *, load_hooks: bool) -> MessagePolicy:
        settings = self.settings
        error = self._settings()
        hook = self._hook(load_hooks=load_hooks)
        rules = [self._rule(index, rule) for index, rule in enumerate(settings.rules)]
        self._unreachable()
        if self.problems.found:
            raise MessagesError(self.problems.found)
        sound = tuple(rule for rule in rules if rule is not None)
        unknown = {
            Direction.CLIENT: settings.unknown,
            Direction.SERVER: settings.unknown_from_server,
        }
        allowed = frozenset(each for each, verdict in unknown.items() if verdict == "allow")
        places = [place for rule in sound for _, place in rule.fields]
        places += [place for rule in sound for place, _ in rule.where]
        return MessagePolicy(
            settings=settings,
            rules=RuleSet(sound, allowed),
            error=error,
            hook=hook,
            follows=any(rule.direction is Direction.SERVER for rule in sound),
            reads_bodies=any(place.first == _BODY for place in places)
            or any(rule.schema is not None for rule in sound),
        )

    def _settings(self) -> ErrorTemplate | None:
        """What belongs to one protocol only."""
        settings = self.settings
        if settings.longest_bytes > self.longest_bytes:
            self.problems.add(
                f"longer messages than websocket.read_bytes ({self.longest_bytes}) never get here",
                "longest_bytes",
            )
        for key, given in (
            ("type_pointer", settings.type_pointer != "/type"),
            ("topic_pointer", settings.topic_pointer is not None),
            ("id_pointer", settings.id_pointer is not None),
        ):
            if given and settings.protocol != "json":
                self.problems.add("is for protocol `json` only", key)
            elif given:
                self.problems.pointer(getattr(settings, key), key)
        if not settings.type_pointer:
            self.problems.add("a message is an object: say where in it the type is", "type_pointer")
        if settings.subscribe_headers and settings.protocol != "stomp":
            self.problems.add("is for protocol `stomp` only", "subscribe_headers")
        for index, name in enumerate(settings.subscribe_headers):
            if not is_header_name(name):
                self.problems.add(
                    "the name of a header: letters, digits, `-`, `_`, `.`",
                    "subscribe_headers",
                    index,
                )
        if settings.protocol == GRAPHQL and settings.unknown == "allow":
            self.problems.add("then operations that no rule lists would pass, too", "unknown")
        if settings.error is None:
            if settings.protocol in {"json", "hook"} and settings.refused == "reply":
                self.problems.add(
                    "without `error` nobody can be told: give one, or drop or close", "refused"
                )
            return None
        if settings.protocol not in {"json", "hook"}:
            self.problems.add("is for protocols without error messages of their own", "error")
        try:
            template = ErrorTemplate(settings.error)
        except UnreadableError as wrong:
            self.problems.add(f"must be JSON: {wrong}", "error")
            return None
        for text in template.odd():
            self.problems.add(
                f"nothing is filled in for '{text}': whole strings are, {', '.join(PLACEHOLDERS)}",
                "error",
                suggestion=nearest(text, PLACEHOLDERS),
            )
        return template

    def _hook(self, *, load_hooks: bool) -> Hook | None:
        name = self.settings.hook
        if name is None:
            if self.settings.protocol == "hook":
                self.problems.add("protocol `hook` needs one: 'module:function'", "hook")
            return None
        if self.settings.protocol != "hook":
            self.problems.add("is for protocol `hook` only", "hook")
            return None
        try:
            parse_hook(name)
            return load_hook(name) if load_hooks else None
        except HookError as wrong:
            self.problems.add(str(wrong), "hook")
            return None

    def _rule(self, index: int, rule: MessageRule) -> Rule | None:
        before = len(self.problems.found)
        at: Place = ("rules", index)
        for key, message in (*wrong_with(rule), *self._wrong_for_protocol(rule)):
            self.problems.add(message, *at, key)
        type_pattern = self.problems.pattern(rule.type, *at, "type")
        topic = None if rule.topic is None else self.problems.pattern(rule.topic, *at, "topic")
        where = [
            (
                self.problems.pointer(place, *at, "where", place),
                self.problems.constant(asked, *at, "where", place),
            )
            for place, asked in rule.where.items()
        ]
        fields = [
            (name, self.problems.pointer(place, *at, "fields", name))
            for name, place in rule.fields.items()
        ]
        self._names(rule, at, type_pattern, topic)
        schema = self._schema(rule, (*at, "schema"))
        if len(self.problems.found) > before or type_pattern is None:
            return None
        return Rule(
            index=index,
            direction=Direction(rule.direction),
            type_pattern=type_pattern,
            topic=topic,
            where=tuple((place, asked[0]) for place, asked in where if place and asked),
            documents=self._documents(rule),
            is_forbidden=rule.access == "nobody",
            action=rule.permission or "",
            resource=rule.resource,
            fields=tuple((name, place) for name, place in fields if place),
            schema=schema,
        )

    def _names(
        self, rule: MessageRule, at: Place, type_pattern: Pattern | None, topic: Pattern | None
    ) -> None:
        """What a resource may be made from; each name means one thing."""
        captured = [name for each in (type_pattern, topic) if each for name in each.names]
        seen = set(self.of_route)
        for name in captured:
            if name in seen:
                self.problems.add(f"'{name}' is the name of something else already", *at, "topic")
            seen.add(name)
        for name in rule.fields:
            if _NAME.fullmatch(name) is None:
                self.problems.add("a name has letters, digits and `_`", *at, "fields", name)
            if name in seen:
                self.problems.add(
                    f"'{name}' is the name of something else already", *at, "fields", name
                )
            seen.add(name)
        if rule.resource is None:
            return
        try:
            check_resource(rule.resource, tuple(sorted(seen)))
        except TemplateError as wrong:
            self.problems.add(str(wrong).replace("the path has", "known are"), *at, "resource")
        for name in rule.fields:
            if _NAME.fullmatch(name) and "{" + name + "}" not in rule.resource:
                self.problems.add(
                    "nothing is made of it: `resource` does not name it", *at, "fields", name
                )

    def _schema(self, rule: MessageRule, at: Place) -> MessageSchema | None:
        if rule.schema is None:
            return None
        subject = subject_of(rule, self.settings)
        if isinstance(subject, str):
            self.problems.add(subject, *at)
            return None
        try:
            return MessageSchema(rule.schema, *subject)
        except SchemaError as wrong:
            for each in wrong.problems:
                self.problems.add(each.message, *at, *each.place, suggestion=each.suggestion)
            return None

    def _wrong_for_protocol(self, rule: MessageRule) -> Iterator[tuple[str, str]]:
        protocol = self.settings.protocol
        if self.is_public and rule.permission is not None:
            yield "permission", "on a public route nobody is asked who they are"
        if rule.topic is not None and (
            protocol == "json-rpc" or (protocol == "json" and self.settings.topic_pointer is None)
        ):
            yield "topic", "messages of this protocol have none (for `json`: give topic_pointer)"
        if protocol == "json-rpc":
            yield from wrong_with_json_rpc(rule)
        if protocol == "stomp":
            yield from wrong_with_stomp(rule)
        if protocol == GRAPHQL:
            yield from wrong_with_graphql(rule, self.settings.rules)
        elif rule.documents or rule.any_document:
            yield "documents", "is for protocol `graphql-transport-ws` only"

    def _documents(self, rule: MessageRule) -> frozenset[str] | None:
        if self.settings.protocol != GRAPHQL or rule.any_document:
            return None
        if rule.type == SUBSCRIBE:
            return frozenset(rule.documents)
        if rule.type == NEXT and rule.topic is not None:
            return registered_documents(rule.topic, self.settings.rules)
        return None

    def _unreachable(self) -> None:
        """Rules after one that takes everything they could."""
        taken: list[tuple[int, str, Pattern, Pattern | None]] = []
        for index, rule in enumerate(self.settings.rules):
            try:
                type_pattern = Pattern(rule.type)
                topic = None if rule.topic is None else Pattern(rule.topic)
            except PatternError:
                # Told elsewhere.
                continue
            for first, direction, types, topics in taken:
                if (
                    direction == rule.direction
                    and types.covers(type_pattern)
                    and (topics is None or (topic is not None and topics.covers(topic)))
                ):
                    self.problems.add(
                        f"rules[{first}] decides about all of these, as it stands before",
                        *("rules", index, "type"),
                    )
                    break
            else:
                if not rule.where and not rule.documents:
                    taken.append((index, rule.direction, type_pattern, topic))
