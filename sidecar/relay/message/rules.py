"""A route's message rules, compiled: which rule speaks of a call, and about which resource.

The first rule of the file that fits decides, as people read it. Whether it fits depends on the
type, the topic, the document and the values that `where` asks for; what the resource is made from
does not count: a message that does not name it clearly is refused, it does not fall to the next.
"""

from collections.abc import Mapping
from typing import Any, Final

from sidecar.relay.gate import Direction
from sidecar.relay.message.call import Call
from sidecar.relay.message.pattern import LONGEST, Pattern
from sidecar.relay.message.pointer import Pointer
from sidecar.relay.message.refusal import UnreadableError
from sidecar.relay.message.schema import MessageSchema
from sidecar.relay.message.value import Constant, equals, segment_of

# Types and topics of which is remembered which rules fit. Clients choose them, so it is bounded.
_MOST_REMEMBERED: Final = 1024
# Longer ones are not worth remembering; kept apart so that few long ones cannot take much memory.
_LONGEST_REMEMBERED: Final = 256

Captured = Mapping[str, str]


class Rule:
    """One compiled rule.

    Attributes:
        index: its place in the file, from 0.
        direction: whose messages it speaks of.
        type: pattern of the type.
        topic: pattern of the topic; None for any, or none.
        where: what must be said, and where.
        documents: digests of GraphQL documents; None where any will do.
        is_forbidden: whether nobody may.
        action: of the permission asked; ``""`` for none.
        resource: resource template; None for no resource in particular.
        fields: what the template takes from the message.
        schema: what the message must look like; None for anything.
    """

    __slots__ = (
        "action",
        "direction",
        "documents",
        "fields",
        "index",
        "is_forbidden",
        "resource",
        "schema",
        "topic",
        "type",
        "where",
    )

    def __init__(
        self,
        *,
        index: int,
        direction: Direction,
        type_pattern: Pattern,
        topic: Pattern | None = None,
        where: tuple[tuple[Pointer, Constant], ...] = (),
        documents: frozenset[str] | None = None,
        is_forbidden: bool = False,
        action: str = "",
        resource: str | None = None,
        fields: tuple[tuple[str, Pointer], ...] = (),
        schema: MessageSchema | None = None,
    ) -> None:
        self.index = index
        self.direction = direction
        self.type = type_pattern
        self.topic = topic
        self.where = where
        self.documents = documents
        self.is_forbidden = is_forbidden
        self.action = action
        self.resource = resource
        self.fields = fields
        self.schema = schema

    def captured(self, type_name: str, topic: str | None) -> Captured | None:
        """What the names of both patterns stand for; None where one does not match."""
        found = self.type.match(type_name)
        if found is None or self.topic is None:
            # Documents without a name of the operation: the client may not choose one either.
            return None if self.documents is not None and topic is not None else found
        about = None if topic is None else self.topic.match(topic)
        if about is None:
            return None
        return {**found, **about} if found and about else about or found

    def fits(self, call: Call) -> bool:
        """Whether the rest fits, after both patterns.

        Raises:
            UnreadableError: a place that is asked for can be read in two ways.
        """
        if self.documents is not None and call.digest not in self.documents:
            return False
        return all(equals(place.find(call.fields), asked) for place, asked in self.where)

    def resource_of(self, call: Call, captured: Captured, route: Captured) -> str | None:
        """The resource that a call is about; ``""`` for none in particular, None for unclear.

        Args:
            call: the call.
            captured: from `captured`.
            route: what the route's own template captured.

        Raises:
            UnreadableError: a place that is asked for can be read in two ways.
        """
        if self.resource is None:
            return ""
        names: dict[str, Any] = {**route, **captured}
        for name, place in self.fields:
            segment = segment_of(place.find(call.fields))
            if segment is None:
                return None
            names[name] = segment
        # A route's tail may end in a slash, which HTTP drops, too (`route.table.resource_of`).
        return self.resource.format_map(names).rstrip("/")


class RuleSet:
    """All rules of a route; shared by its connections.

    Args:
        rules: in the order of the file.
        allows_unknown: directions in which calls pass that no rule speaks of.
    """

    __slots__ = ("_allows_unknown", "_remembered", "_rules", "reads_server")

    def __init__(self, rules: tuple[Rule, ...], allows_unknown: frozenset[Direction]) -> None:
        self._rules = rules
        self._allows_unknown = allows_unknown
        self.reads_server = any(rule.direction is Direction.SERVER for rule in rules)
        self._remembered: dict[
            tuple[Direction, str, str | None], tuple[tuple[Rule, Captured], ...]
        ] = {}

    def find(self, direction: Direction, call: Call) -> tuple[Rule, Captured] | None:
        """The rule that decides about `call`, with what its patterns captured; None for none.

        Raises:
            UnreadableError: a place that a rule asks for can be read in two ways, or the type or
                the topic is too long.
        """
        key = (direction, call.type, call.topic)
        candidates = self._remembered.get(key)
        if candidates is None:
            candidates = self._candidates(*key)
        for candidate in candidates:
            rule = candidate[0]
            if (not rule.where and rule.documents is None) or rule.fits(call):
                return candidate
        return None

    def allows_unknown(self, direction: Direction, call: Call) -> bool:
        """Whether `call` passes although no rule speaks of it."""
        return call.is_control or direction in self._allows_unknown

    def _candidates(
        self, direction: Direction, type_name: str, topic: str | None
    ) -> tuple[tuple[Rule, Captured], ...]:
        if len(type_name) > LONGEST or len(topic or "") > LONGEST:
            raise UnreadableError(f"a type or topic of more than {LONGEST} characters")
        found = []
        for rule in self._rules:
            if rule.direction is direction:
                captured = rule.captured(type_name, topic)
                if captured is not None:
                    found.append((rule, captured))
        candidates = tuple(found)
        if len(type_name) + len(topic or "") <= _LONGEST_REMEMBERED:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[direction, type_name, topic] = candidates
        return candidates
