"""YAML text -> a tree of nodes with their places, or problems. Knows nothing of the schema.

Built from the parser's events instead of its objects, because a configuration needs more than
values: each node's line and column, keys that came twice, and a bound on what aliases expand to.
What a plain word means (YAML 1.1 reads `no` as false, 010 as 8) is left to the reader, which knows
what is expected there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

import yaml

from sidecar.settings.problem import Findings, Path, Place

# The largest ConfigMap of Kubernetes holds 1 MiB.
MAX_BYTES: Final = 1_048_576
# Nodes after all aliases are expanded; a file of 1 000 routes has about 8 000.
MAX_NODES: Final = 100_000
# The schema is 5 deep.
MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value, not yet interpreted.

    Attributes:
        text: as written, without quotes.
        plain: whether it stood without quotes, so that YAML could take it for something else.
        place: where.
    """

    text: str
    plain: bool
    place: Place
    size: int = 1

    def __repr__(self) -> str:
        """Without the text, which may be a secret."""
        return f"<Scalar at {self.place}>"


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple["Node", ...]
    place: Place
    size: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """A section: keys with their places, each once."""

    entries: tuple[tuple[Scalar, "Node"], ...]
    place: Place
    size: int


Node: TypeAlias = Scalar | Sequence | Mapping


class UnreadableError(Exception):
    """The text cannot be read any further; what is wrong was noted in the findings."""


def parse_document(text: str, findings: Findings) -> Node | None:
    """The tree of `text`; None when it is not a usable document, which `findings` then tells."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        findings.add((1, 1), (), "the file is larger than 1 MiB")
        return None
    try:
        return _Builder(text, findings).document()
    except UnreadableError:
        return None


class _Builder:
    """Builds nodes from events, one pass."""

    def __init__(self, text: str, findings: Findings) -> None:
        self._lines = text.splitlines()
        self._findings = findings
        self._events = self._read_events(text)
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0

    def document(self) -> Node | None:
        """The one document of the stream."""
        next(self._events)  # the beginning of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._findings.add((1, 1), (), "the file is empty")
            return None
        node = self._node(next(self._events), (), 0)
        next(self._events)  # the end of the document
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            self._refuse(_place(following), (), "only one YAML document is allowed in the file")
        return node

    def _read_events(self, text: str) -> Iterator[yaml.Event]:
        """The parser's events; its errors become problems."""
        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self._refuse(place, (), self._in_words(error, place))
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
            code_point = ord(text[error.position])
            self._refuse(place, (), f"character U+{code_point:04X} is not allowed here")
        except (ValueError, OverflowError):
            # The scanner's own: "\UFFFFFFFF", %YAML with thousands of digits.
            self._refuse((1, 1), (), "not valid YAML: a number or an escape is out of range")

    def _in_words(self, error: yaml.MarkedYAMLError, place: Place) -> str:
        """What the parser's complaint means, without quoting the file: it may hold a secret."""
        problem = error.problem or ""
        line = self._lines[place[0] - 1] if place[0] <= len(self._lines) else ""
        known = (words for start, words in _COMPLAINTS.items() if problem.startswith(start))
        words = next(known, "not valid YAML here: check indentation, quotes and brackets")
        if "${" in line and any(bracket in line for bracket in (": {", "[", "{ ")):
            words += "; inside brackets, put ${...} in quotes"
        return words

    def _node(self, event: yaml.Event, path: Path, depth: int) -> Node:
        place = _place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place, path)
        self._count(1, place)
        if depth > MAX_DEPTH:
            self._refuse(place, (), f"nested deeper than {MAX_DEPTH} levels")
        # The grammar leaves no other events here; saying so gives them their types.
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)  # noqa: S101
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None  # known, not finished: an alias inside itself
        if event.tag is not None:
            message = "tags (`!...`) are not supported: write the value alone"
            self._findings.add(place, path, message)
        node: Node
        if isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(place, path, depth)
        elif isinstance(event, yaml.ScalarEvent):
            node = Scalar(event.value, event.style is None, place)
        else:
            node = self._mapping(place, path, depth)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _sequence(self, place: Place, path: Path, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return Sequence(tuple(items), place, 1 + sum(item.size for item in items))

    def _mapping(self, place: Place, path: Path, depth: int) -> Mapping:
        entries: list[tuple[Scalar, Node]] = []
        lines: dict[str, int] = {}
        size = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, path, depth + 1)
            name = self._key_name(key, path)
            below = (*path, name) if name is not None else path
            value = self._node(next(self._events), below, depth + 1)
            size += key.size + value.size
            if name is None or not isinstance(key, Scalar):
                continue
            if name in lines:
                self._findings.remark(
                    key.place, below, f"the key is given twice; first in line {lines[name]}"
                )
                continue
            lines[name] = key.place[0]
            entries.append((key, value))
        return Mapping(tuple(entries), place, size)

    def _key_name(self, key: Node, path: Path) -> str | None:
        """The name of a key, or None (noted) where it is not text."""
        if not isinstance(key, Scalar):
            self._findings.remark(key.place, path, "a key must be a word, not a list or section")
            return None
        if key.plain and key.text == "<<":
            self._findings.remark(
                key.place, path, "merge keys (`<<`) are not supported: repeat the keys"
            )
            return None
        reading = yaml_reading(key)
        if reading:
            self._findings.remark(
                key.place,
                path,
                f"a key must be text: YAML reads this as {reading}; put it in quotes",
            )
            return None
        return key.text

    def _alias(self, event: yaml.AliasEvent, place: Place, path: Path) -> Node:
        # The name is not quoted: a secret that begins with `*` looks like an alias.
        if event.anchor not in self._anchors:
            message = "an alias (`*name`) without its anchor; text that begins with * needs quotes"
            self._refuse(place, path, message)
        node = self._anchors[event.anchor]
        if node is None:
            self._refuse(place, path, "an alias (`*name`) inside of what it stands for")
        self._count(node.size, place)
        return node

    def _count(self, nodes: int, place: Place) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._refuse(place, (), f"more than {MAX_NODES} values, aliases expanded")

    def _refuse(self, place: Place, path: Path, message: str) -> NoReturn:
        self._findings.add(place, path, message)
        raise UnreadableError


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


_RESOLVER: Final = yaml.resolver.Resolver()
_READINGS: Final = {
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:value": "a special mark",
    "tag:yaml.org,2002:merge": "a special mark",
}


def yaml_reading(scalar: Scalar) -> str:
    """What YAML 1.1 takes a word without quotes for (``a number``); ``""`` for text."""
    if not scalar.plain:
        return ""
    tag: str = _RESOLVER.resolve(  # type: ignore[no-untyped-call] # the stubs leave it out
        yaml.ScalarNode, scalar.text, (True, False)
    )
    return _READINGS.get(tag, "")


# What PyYAML says (the beginning of it) -> what it means.
_COMPLAINTS: Final = {
    "mapping values are not allowed": (
        "a `:` where none can be: check the indentation, and put text with `: ` in it in quotes"
    ),
    "found character '\\t'": "a tab: YAML is indented with spaces only",
    "found character": "text that begins with a special character needs quotes",
    "found unexpected end of stream": "a quote is not closed",
    "found unknown escape": "unknown escape after `\\`; in single quotes `\\` stands for itself",
    "expected ',' or ']'": "a `[` is not closed, or a comma is missing",
    "expected ',' or '}'": "a `{` is not closed, or a comma is missing",
    "expected <block end>": "the indentation does not fit the lines above",
    "could not find expected ':'": "a key without `:` after it",
    "found undefined tag handle": "tags (`!...`) are not supported: write the value alone",
    "found a tab": "a tab: YAML is indented with spaces only",
}
