"""Resource patterns, and an index of them that stays flat at a hundred thousand.

Resources are names in segments: ``orders/17``. In a pattern ``*`` stands for one whole segment and
a last ``**`` for one or more; ``*`` alone is every resource, and the only pattern that matches a
request about no resource in particular.

A segment ``*`` in a *request* is a plain name: literals and wildcards have different places here.
"""

from typing import Final, Generic, TypeVar

V = TypeVar("V")

EVERYTHING: Final = "*"
_ONE: Final = "*"
_REST: Final = "**"


def is_resource_pattern(text: str) -> bool:
    """Whether a rule or a grant may name resources by `text`."""
    if "*" not in text:
        return bool(text)
    *before, last = text.split("/")
    if "*" in last and last not in {_ONE, _REST}:
        return False
    return all("*" not in segment or segment == _ONE for segment in before)


class _Node(Generic[V]):
    """`end` is the value of the pattern that ends here, `rest` of the one that ends in ``**``."""

    __slots__ = ("end", "literals", "one", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[V]] = {}
        self.one: _Node[V] | None = None
        self.end: V | None = None
        self.rest: V | None = None


class ResourceIndex(Generic[V]):
    """Values by pattern, ``*`` excepted: that one needs no index.

    A dict for patterns without wildcards, a trie for the others. Looking up costs the segments of
    the resource times the patterns that match its beginning, not the number of patterns.
    """

    __slots__ = ("_exact", "_root")

    def __init__(self) -> None:
        self._exact: dict[str, V] = {}
        self._root: _Node[V] | None = None

    def setdefault(self, pattern: str, value: V) -> V:
        """The value of `pattern`, which is `value` if it had none.

        Args:
            pattern: well-formed (`is_resource_pattern`), and not `EVERYTHING`.
            value: not None.
        """
        if "*" not in pattern:
            return self._exact.setdefault(pattern, value)
        node = self._reach(pattern)
        if pattern.endswith(_REST):
            node.rest = value if node.rest is None else node.rest
            return node.rest
        node.end = value if node.end is None else node.end
        return node.end

    def replace(self, pattern: str, value: V) -> None:
        """Make `value` that of `pattern`, which has one already."""
        if "*" not in pattern:
            self._exact[pattern] = value
        elif pattern.endswith(_REST):
            self._reach(pattern).rest = value
        else:
            self._reach(pattern).end = value

    def _reach(self, pattern: str) -> _Node[V]:
        """The node where `pattern` ends, made where it was not there; before a last ``**``."""
        node = self._root = self._root or _Node()
        for segment in pattern.split("/"):
            if segment == _REST:
                break
            if segment == _ONE:
                node.one = node.one or _Node()
                node = node.one
            else:
                node = node.literals.setdefault(segment, _Node())
        return node

    def find(self, resource: str) -> V | None:
        """The value of one pattern that matches, the literal one if it is there."""
        found = self._exact.get(resource)
        if found is None and self._root is not None:
            wild = _matches(self._root, resource)
            return wild[0] if wild else None
        return found

    def find_all(self, resource: str) -> list[V]:
        """The values of all patterns that match."""
        exact = self._exact.get(resource)
        found = [] if exact is None else [exact]
        if self._root is not None:
            found += _matches(self._root, resource)
        return found


def _matches(root: _Node[V], resource: str) -> list[V]:
    """All branches abreast, segment by segment: no recursion, no step twice."""
    if not resource:
        return []
    found: list[V] = []
    abreast = [root]
    for segment in resource.split("/"):
        following: list[_Node[V]] = []
        for node in abreast:
            if node.rest is not None:
                found.append(node.rest)
            literal = node.literals.get(segment)
            if literal is not None:
                following.append(literal)
            if node.one is not None:
                following.append(node.one)
        if not following:
            return found
        abreast = following
    return found + [node.end for node in abreast if node.end is not None]
