"""From the rules of the settings to the table, with all that is wrong with them told at once."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from sidecar.model.cors import Cors
from sidecar.model.route import Access, Evidence, Route
from sidecar.route.access import wrong_access
from sidecar.route.table import RESERVED, RouteTable, Tree
from sidecar.route.template import (
    Kind,
    Segment,
    TemplateError,
    check_resource,
    parameter_names,
    parse_path,
)
from sidecar.route.websocket import websocket_policy
from sidecar.settings.schema import CorsRule, RouteRule

# A token (RFC 9110 section 5.6.2), in upper case: method names are case-sensitive.
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+")
# What `RequestHead.host` can be: a name, an IPv4 address, or an IPv6 address in brackets.
_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


class RouteProblem(msgspec.Struct, frozen=True):
    """One thing wrong with one rule.

    Attributes:
        index: the rule's place in the settings, from 0.
        field: the key in the rule.
        message: for the author of the rule.
    """

    index: int
    field: str
    message: str


class RoutesError(ValueError):
    """The rules make no table.

    Attributes:
        problems: everything that is wrong, by rule.
    """

    def __init__(self, problems: Sequence[RouteProblem]) -> None:
        super().__init__(
            "; ".join(f"routes[{each.index}].{each.field}: {each.message}" for each in problems)
        )
        self.problems = tuple(problems)


def compile_routes(
    rules: Sequence[RouteRule], *, default_upstream: str, own: Iterable[Route] = ()
) -> RouteTable:
    """Compile the rules of the settings, and our own routes beside them.

    Args:
        rules: the rules, in the order of the file.
        default_upstream: where a rule without `upstream` forwards to.
        own: routes below ``/_sidecar/``, from `compile_route`.

    Raises:
        RoutesError: if anything is wrong, all of it at once.
    """
    building = _Building(default_upstream)
    for index, rule in enumerate(rules):
        building.add(index, rule)
    if building.problems:
        raise RoutesError(building.problems)
    own_routes = tuple(own)
    own_tree = Tree()
    for route in own_routes:
        segments = parse_path(route.template)
        if own_tree.terminal(segments).add(route, segments) is not None:
            raise ValueError(f"two of our own routes are the same: {route.template}")
    routes = (*own_routes, *building.routes)
    return RouteTable(routes, building.any_host, building.hosts, own_tree)


def compile_route(
    path: str,
    *,
    name: str,
    methods: Iterable[str],
    upstream: str,
    access: Access = Access.PUBLIC,
    action: str = "",
    resource: str | None = None,
) -> Route:
    """One of our own routes.

    Raises:
        ValueError: if `path` is not below ``/_sidecar/`` or not a template.
    """
    if not path.startswith(RESERVED + "/"):
        raise ValueError(f"our own routes are below {RESERVED}/, not {path}")
    names = parameter_names(parse_path(path))
    if resource is not None:
        check_resource(resource, names)
    return Route(
        name=name,
        host=None,
        template=path,
        methods=_with_head(methods),
        access=access,
        action=action,
        resource=resource,
        upstream=upstream,
    )


class _Building:
    """A table in the making."""

    def __init__(self, default_upstream: str) -> None:
        self.default_upstream = default_upstream
        self.problems: list[RouteProblem] = []
        self.routes: list[Route] = []
        self.any_host = Tree()
        self.hosts: dict[str, Tree] = {}
        self._names: dict[str, int] = {}
        self._places: dict[Route, int] = {}

    def add(self, index: int, rule: RouteRule) -> None:
        problems = [RouteProblem(index, field, text) for field, text in _wrong_with(rule)]
        segments, problem = _parsed(index, rule)
        if problem is not None:
            problems.append(problem)
        self.problems += problems
        if problems:
            return
        route = _route(rule, self.default_upstream)
        self._places[route] = index
        self._name(index, route)
        self._insert(index, route, segments)
        self.routes.append(route)

    def _name(self, index: int, route: Route) -> None:
        first = self._names.setdefault(route.name, index)
        if first != index:
            message = f"'{route.name}' is also the name of routes[{first}]"
            self.problems.append(RouteProblem(index, "name", message))

    def _insert(self, index: int, route: Route, segments: tuple[Segment, ...]) -> None:
        tree = self.any_host
        if route.host is not None:
            tree = self.hosts.setdefault(route.host, Tree())
        other = tree.terminal(segments).add(route, segments)
        if other is None:
            return
        message = f"matches the same requests as routes[{self._places[other]}] ({other.template})"
        if not other.methods or (route.methods and route.methods <= other.methods):
            message += ", so it would never be reached"
        self.problems.append(RouteProblem(index, "path", message))


def _parsed(index: int, rule: RouteRule) -> tuple[tuple[Segment, ...], RouteProblem | None]:
    try:
        segments = parse_path(rule.path)
    except TemplateError as wrong:
        return (), RouteProblem(index, "path", str(wrong))
    if segments[0].shape == (Kind.LITERAL, RESERVED[1:]):
        return (), RouteProblem(index, "path", f"paths below {RESERVED}/ are reserved")
    try:
        if rule.resource is not None:
            check_resource(rule.resource, parameter_names(segments))
    except TemplateError as wrong:
        return (), RouteProblem(index, "resource", str(wrong))
    return segments, None


def _wrong_with(rule: RouteRule) -> Iterable[tuple[str, str]]:
    """What is wrong with a rule apart from its templates: (key, message)."""
    yield from wrong_access(rule, "'public', 'authenticated'")
    if rule.access == "public":
        for field in ("audiences", "scopes"):
            if getattr(rule, field):
                yield field, "a public route looks at no token"
        if rule.last_known_good_seconds:
            yield "last_known_good_seconds", "a public route asks no store, so it needs none"
    for method in rule.methods:
        if not _METHOD.fullmatch(method):
            yield "methods", f"'{method}' is not a method in upper case"
    if rule.host is not None and not _HOST.fullmatch(rule.host.lower()):
        yield "host", f"'{rule.host}' is not a host name without port"
    if rule.name is not None and not (rule.name and rule.name.isprintable()):
        yield "name", "a name has at least one character, all of them printable"


def _route(rule: RouteRule, default_upstream: str) -> Route:
    host = None if rule.host is None else rule.host.lower()
    return Route(
        name=rule.name or " ".join(("|".join(rule.methods) or "*", (host or "") + rule.path)),
        host=host,
        template=rule.path,
        methods=_with_head(rule.methods),
        access=Access.PERMISSION if rule.permission else Access(rule.access or ""),
        action=rule.permission or "",
        resource=rule.resource,
        upstream=rule.upstream or default_upstream,
        credential=Evidence(rule.credential),
        audiences=frozenset(rule.audiences),
        scopes=frozenset(rule.scopes),
        conceal=rule.conceal,
        forward_credential=rule.forward_credential,
        last_known_good_seconds=rule.last_known_good_seconds,
        cors=None if rule.cors is None else _cors(rule.cors),
        forwards_preflights=rule.preflight == "forward",
        websocket=None if rule.websocket is None else websocket_policy(rule.websocket),
    )


def _cors(rule: CorsRule) -> Cors:
    return Cors(
        origins=frozenset(rule.origins),
        methods=rule.methods,
        headers=tuple(header.lower() for header in rule.headers),
        exposed=rule.exposed,
        credentials=rule.credentials,
        max_age_seconds=rule.max_age_seconds,
    )


def _with_head(methods: Iterable[str]) -> frozenset[str]:
    """HEAD is GET without the content (RFC 9110 section 9.3.2): who speaks of GET means both."""
    named = frozenset(methods)
    return named | {"HEAD"} if "GET" in named else named
