"""The table of routes: host, method and path -> the one route that applies.

The most specific template decides, segment by segment from the left: a literal before a parameter
before a tail; and the templates of a named host before those for any host.

If the most specific template exists for the path but not for the method, the answer is 405: there
is no falling back to a less specific one. A fallback would let a broad rule (`/{rest*}`, public)
open what a narrow one (`GET /admin/users`) closed: `POST /admin/users` is nobody's intention.

Nor does a last slash lead to a less specific one: where ``/admin`` has a route of its own,
``/admin/`` is not opened by ``/{rest*}``.

Everything below ``/_sidecar/`` is ours: rules of the settings neither name nor catch it.
"""

from collections.abc import Sequence
from typing import Final

from sidecar.model.decision import Denial
from sidecar.model.reason import Reason
from sidecar.model.route import Route, RouteMatch
from sidecar.route.template import Kind, Segment, decode

RESERVED: Final = "/_sidecar"
_RESERVED_SEGMENT: Final = RESERVED[1:]
# Stands for whatever might follow; no literal of a template holds a control character.
_ANY_SEGMENT: Final = "\0"


class Endpoint:
    """A route as it ends a template: where its parameters stand among the segments."""

    __slots__ = ("names", "route", "shared", "tail")

    def __init__(self, route: Route, segments: tuple[Segment, ...]) -> None:
        self.route = route
        self.names: tuple[tuple[str, int], ...] = tuple(
            (segment.text, at)
            for at, segment in enumerate(segments)
            if segment.kind is Kind.PARAMETER
        )
        last = segments[-1]
        self.tail = last.text if last.kind is Kind.TAIL else None
        # Without parameters every match is the same: 0.5 us saved.
        self.shared = None if self.names or self.tail else RouteMatch(route, {})

    def match(self, segments: Sequence[str], depth: int) -> RouteMatch:
        """The match for a path with these decoded segments; the tail begins at `depth`."""
        if self.shared is not None:
            return self.shared
        parameters = {name: segments[at] for name, at in self.names}
        if self.tail is not None:
            parameters[self.tail] = "/".join(segments[depth:])
        return RouteMatch(self.route, parameters)


class Terminal:
    """The end of one template of one host: the routes there, by method."""

    __slots__ = ("any_method", "by_method", "depth", "is_tail")

    def __init__(self, depth: int, *, is_tail: bool = False) -> None:
        self.by_method: dict[str, Endpoint] = {}
        self.any_method: Endpoint | None = None
        self.depth = depth
        self.is_tail = is_tail

    def add(self, route: Route, segments: tuple[Segment, ...]) -> Route | None:
        """Add a route, unless one that is there already speaks of one of its methods.

        Returns:
            That other route, or None: then it was added.
        """
        if self.any_method is not None:
            return self.any_method.route
        for method, other in self.by_method.items():
            if not route.methods or method in route.methods:
                return other.route
        endpoint = Endpoint(route, segments)
        if not route.methods:
            self.any_method = endpoint
        self.by_method.update(dict.fromkeys(sorted(route.methods), endpoint))
        return None


class _Node:
    __slots__ = ("end", "literals", "parameter", "tail")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.tail: Terminal | None = None
        self.end: Terminal | None = None


class Tree:
    """The templates of one host."""

    __slots__ = ("_exact", "_root")

    def __init__(self) -> None:
        self._root = _Node()
        # Templates without parameters: nothing is more specific, so they need no walk.
        self._exact: dict[str, Terminal] = {}

    def terminal(self, segments: tuple[Segment, ...]) -> Terminal:
        """The end of this template, made if it is new."""
        node = self._root
        for segment in segments:
            if segment.kind is Kind.TAIL:
                node.tail = node.tail or Terminal(len(segments) - 1, is_tail=True)
                return node.tail
            if segment.kind is Kind.PARAMETER:
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment.text, _Node())
        node.end = node.end or Terminal(len(segments))
        if all(segment.kind is Kind.LITERAL for segment in segments):
            self._exact["/" + "/".join(segment.text for segment in segments)] = node.end
        return node.end

    def exact(self, path: str) -> Terminal | None:
        """The end of the template that is literally `path`."""
        return self._exact.get(path)

    def find(self, segments: Sequence[str]) -> Terminal | None:
        """The end of the most specific template that matches."""
        return _walk(self._root, segments, 0)


def _walk(node: _Node, segments: Sequence[str], at: int) -> Terminal | None:
    """Depth first, the most specific branch first; calls itself only where there is a choice.

    No node is visited twice, since a tree has one way to each; and none is deeper than the deepest
    template, however long the path.
    """
    while at < len(segments):
        segment = segments[at]
        at += 1
        literal = node.literals.get(segment)
        # No parameter and no tail begins with an empty segment.
        parameter, tail = (node.parameter, node.tail) if segment else (None, None)
        if literal is None:
            if parameter is None or tail is not None:
                return (parameter and _walk(parameter, segments, at)) or tail
            node = parameter
        elif parameter is None and tail is None:
            node = literal
        else:
            found = _walk(literal, segments, at)
            return found or (parameter and _walk(parameter, segments, at)) or tail
    return node.end


class RouteTable:
    """All routes, compiled. Immutable once built (`sidecar.route.rules` builds it).

    Attributes:
        routes: all of them, ours included, in the order of the settings.
    """

    __slots__ = ("_any_host", "_hosts", "_own", "routes")

    def __init__(
        self, routes: tuple[Route, ...], any_host: Tree, hosts: dict[str, Tree], own: Tree
    ) -> None:
        self.routes = routes
        self._any_host = any_host
        self._hosts = hosts
        self._own = own

    def match(self, host: str, method: str, path: str) -> RouteMatch | Denial:
        """Find the route of a request.

        Args:
            host: lower case, without port; ``""`` if there is none.
            method: as received.
            path: canonical (`RequestHead.path`).

        Returns:
            The match; or a Denial: `UNKNOWN_ROUTE`, `METHOD_NOT_ALLOWED` with the methods that
            would have been allowed, `MALFORMED_TARGET` if the path does not decode, or
            `MALFORMED_HOST` if there is no host, and some route asks for one.
        """
        if not host and self._hosts:
            return Denial(Reason.MALFORMED_HOST, "routes are chosen by host, and none is named")
        if "%" not in path and host not in self._hosts:
            # Nothing is more specific than a template that is literally the path.
            terminal = self._any_host.exact(path)
            if terminal is not None:
                endpoint = terminal.by_method.get(method, terminal.any_method)
                if endpoint is not None and endpoint.shared is not None:
                    return endpoint.shared
        segments = path[1:].split("/")
        if "%" in path:
            decoded = [decode(segment) for segment in segments]
            segments = [segment for segment in decoded if segment is not None]
            if len(segments) != len(decoded):
                return Denial(Reason.MALFORMED_TARGET, "the path has no single decoded form")
            path = "/" + "/".join(segments)
        terminal = self._find(host, path, segments)
        if terminal is None:
            return Denial(Reason.UNKNOWN_ROUTE, "no route for this path")
        if terminal.is_tail and self._is_beside_a_narrower(host, segments, terminal):
            return Denial(
                Reason.UNKNOWN_ROUTE, "only the trailing slash tells it from a narrower route"
            )
        endpoint = terminal.by_method.get(method, terminal.any_method)
        if endpoint is None:
            return _method_denied(terminal)
        return endpoint.match(segments, terminal.depth)

    def _find(self, host: str, path: str, segments: Sequence[str]) -> Terminal | None:
        if segments[0] == _RESERVED_SEGMENT:
            return self._own.exact(path) or self._own.find(segments)
        named = self._hosts.get(host)
        if named is not None:
            terminal = named.exact(path) or named.find(segments)
            if terminal is not None:
                return terminal
        return self._any_host.exact(path) or self._any_host.find(segments)

    def _is_beside_a_narrower(self, host: str, segments: list[str], found: Terminal) -> bool:
        """Whether a path that only a tail matches is, but for its last slash, a narrower route's.

        Most applications serve the same thing with and without it (``/admin/`` and ``/admin``), so
        the broad rule must not open what the narrow one closed; nor may ``/admin/`` be open where
        all below it is closed.
        """
        if segments[-1]:
            return self._differs(host, [*segments, ""], found)
        return self._differs(host, segments[:-1], found) or self._differs(
            host, [*segments[:-1], _ANY_SEGMENT], found
        )

    def _differs(self, host: str, segments: list[str], found: Terminal) -> bool:
        if not segments:
            return False
        other = self._find(host, "/" + "/".join(segments), segments)
        return other is not None and other is not found


def resource_of(match: RouteMatch) -> str:
    """The resource a request is about: the route's resource template, filled; ``""`` without one.

    A trailing slash, which only a tail can bring, is dropped: most applications serve the same
    thing with and without it, so a rule about the one must hold for the other.
    """
    template = match.route.resource
    if template is None:
        return ""
    # `check_resource` lets nothing into a template but whole names of parameters in braces.
    return template.format_map(match.parameters).rstrip("/")


def _method_denied(terminal: Terminal) -> Denial:
    shown = {
        method: endpoint.route
        for method, endpoint in terminal.by_method.items()
        if not endpoint.route.conceal
    }
    if not shown:
        # 405 would tell that there is something.
        return Denial(Reason.UNKNOWN_ROUTE, "the method has no route, and the others conceal")
    route = next(iter(shown.values()))
    detail = f"the template {route.template} has no route for this method"
    return Denial(Reason.METHOD_NOT_ALLOWED, detail, route=route, allow=tuple(sorted(shown)))
