"""The table agrees with a matcher that tries every rule."""

from dataclasses import dataclass

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from sidecar.model.decision import Denial
from sidecar.model.reason import Reason
from sidecar.model.route import RouteMatch
from sidecar.route.rules import RoutesError, compile_routes
from sidecar.route.table import RouteTable, resource_of
from sidecar.route.template import Kind, parse_path
from sidecar.settings.schema import RouteRule

SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y}"])
TEMPLATES = st.builds(
    lambda segments, last: "/" + "/".join([*segments, last]),
    st.lists(SEGMENTS, max_size=3),
    st.sampled_from(["a", "b", "", "{z}", "{z*}"]),
)
METHODS = st.sampled_from([(), ("GET",), ("PUT",), ("PUT", "POST")])
RULES = st.lists(
    st.builds(
        lambda path, methods, host: RouteRule(
            path=path, methods=methods, host=host, access="public"
        ),
        TEMPLATES,
        METHODS,
        st.sampled_from([None, "h"]),
    ),
    min_size=1,
    max_size=10,
)
PATHS = st.builds(
    lambda segments: "/" + "/".join(segments),
    st.lists(st.sampled_from(["a", "b", "c", "%61"]), min_size=1, max_size=5),
) | st.sampled_from(["/", "/a/", "/a/b/", "/c/"])


@dataclass
class Candidate:
    index: int
    order: tuple[object, ...]
    parameters: dict[str, str]


def candidate(index: int, rule: RouteRule, segments: list[str]) -> Candidate | None:
    """How specific `rule` is for the path; None if it does not match. Slow and plain."""
    order: list[int] = [0 if rule.host else 1]
    parameters: dict[str, str] = {}
    template = parse_path(rule.path)
    for at, part in enumerate(template):
        rest = segments[at:]
        order.append(int(part.kind))
        if not rest or (part.kind is Kind.LITERAL and rest[0] != part.text):
            return None
        if part.kind is not Kind.LITERAL:
            if not rest[0]:
                return None
            parameters[part.text] = "/".join(rest) if part.kind is Kind.TAIL else rest[0]
    if len(segments) > len(template) and template[-1].kind is not Kind.TAIL:
        return None
    return Candidate(index, tuple(order), parameters)


def candidates(rules: list[RouteRule], host: str, segments: list[str]) -> list[Candidate]:
    return [
        match
        for index, rule in enumerate(rules)
        if rule.host in {None, host} and (match := candidate(index, rule, segments))
    ]


def best_order(rules: list[RouteRule], host: str, segments: list[str]) -> tuple[object, ...] | None:
    return min((match.order for match in candidates(rules, host, segments)), default=None)


def naive(rules: list[RouteRule], host: str, method: str, path: str) -> object:
    if not host and any(rule.host for rule in rules):
        return Reason.MALFORMED_HOST
    segments = path.replace("%61", "a")[1:].split("/")
    found = candidates(rules, host, segments)
    if not found:
        return Reason.UNKNOWN_ROUTE
    best = min(found, key=lambda match: match.order)
    if rules[best.index].path.endswith("*}"):
        # A last slash, or what may follow it, must not lead from a narrower rule to this one.
        beside = [[*segments, ""]]
        if not segments[-1]:
            beside = [segments[:-1], [*segments[:-1], "anything"]]
        for other in beside:
            if other and best_order(rules, host, other) not in {None, best.order}:
                return Reason.UNKNOWN_ROUTE
    for match in found:
        methods = rules[match.index].methods
        wider = {*methods, "HEAD"} if "GET" in methods else set(methods)
        if match.order == best.order and (not methods or method in wider):
            return rules[match.index].path, match.parameters
    return Reason.METHOD_NOT_ALLOWED


@given(
    rules=RULES,
    host=st.sampled_from(["", "h", "i"]),
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST"]),
    path=PATHS,
)
def test_the_table_agrees_with_a_naive_matcher(
    rules: list[RouteRule], host: str, method: str, path: str
) -> None:
    try:
        table = compile_routes(rules, default_upstream="app")
    except RoutesError:
        # The rules contradict each other: another test's subject.
        reject()
    outcome = table.match(host, method, path)
    told = (
        outcome.reason
        if isinstance(outcome, Denial)
        else (outcome.route.template, outcome.parameters)
    )
    assert told == naive(rules, host, method, path)


@pytest.mark.parametrize(
    ("host", "path", "template"),
    [
        ("h", "/a", "/{x}"),
        ("h", "/a/b", "/a/{z*}"),
        ("h", "/c/d", "/c/d"),
        ("i", "/a", "/a"),
        ("i", "/%61", "/a"),
        ("i", "/%41", "/{any}"),
    ],
)
def test_a_template_of_the_host_goes_before_one_that_is_the_path(
    host: str, path: str, template: str
) -> None:
    rules = [
        RouteRule(path="/{x}", host="h", access="public"),
        RouteRule(path="/a/{z*}", host="h", access="public"),
        *(RouteRule(path=each, access="public") for each in ("/a", "/a/b", "/c/d", "/{any}")),
    ]
    outcome = compile_routes(rules, default_upstream="app").match(host, "GET", path)
    assert isinstance(outcome, RouteMatch)
    assert outcome.route.template == template


def table_of(*paths: str) -> RouteTable:
    rules = [RouteRule(path=path, permission="a:b", resource="r") for path in paths]
    return compile_routes(rules, default_upstream="app")


@pytest.mark.parametrize(
    ("paths", "path", "open_"),
    [
        (("/admin", "/{rest*}"), "/admin/", False),
        (("/admin", "/{rest*}"), "/admin/x", True),
        (("/admin", "/{rest*}"), "/admi", True),
        (("/admin/", "/{rest*}"), "/admin", False),
        (("/a/{b}", "/{rest*}"), "/a/b/", False),
        (("/admin/{rest*}", "/{all*}"), "/admin/", False),
        (("/{rest*}",), "/any/", True),
        (("/", "/{rest*}"), "/any/", True),
    ],
)
def test_a_last_slash_opens_nothing(paths: tuple[str, ...], path: str, *, open_: bool) -> None:
    outcome = table_of(*paths).match("", "GET", path)
    assert isinstance(outcome, RouteMatch) is open_
    assert open_ or (isinstance(outcome, Denial) and outcome.reason is Reason.UNKNOWN_ROUTE)


def test_concealed_routes_are_not_among_the_allowed_methods() -> None:
    rules = [
        RouteRule(path="/a", methods=("GET",), access="public"),
        RouteRule(path="/a", methods=("DELETE",), access="authenticated", conceal=True),
    ]
    outcome = compile_routes(rules, default_upstream="app").match("", "PUT", "/a")
    assert isinstance(outcome, Denial)
    assert outcome.allow == ("GET", "HEAD")


def test_a_long_path_costs_no_recursion() -> None:
    table = table_of("/a/{b}/c", "/{rest*}")
    outcome = table.match("", "GET", "/a" + "/b" * 5_000)
    assert isinstance(outcome, RouteMatch)
    assert outcome.route.template == "/{rest*}"


def test_a_path_without_reading_is_refused_before_anything_matches() -> None:
    outcome = table_of("/{rest*}").match("", "GET", "/a/%C3")
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.MALFORMED_TARGET


@pytest.mark.parametrize(
    ("resource", "path", "filled"),
    [
        ("fixed", "/x/1", "fixed"),
        ("x/{x}", "/x/1", "x/1"),
        ("{x}", "/x/%7B%7D", "{}"),
        ("x/{x}/y", "/x/*", "x/*/y"),
    ],
)
def test_resources_are_filled(resource: str, path: str, filled: str) -> None:
    rule = RouteRule(path="/x/{x}", permission="a:b", resource=resource)
    match = compile_routes([rule], default_upstream="app").match("", "GET", path)
    assert isinstance(match, RouteMatch)
    assert resource_of(match) == filled


def test_a_route_without_resource_asks_for_none() -> None:
    rule = RouteRule(path="/x", permission="a:b")
    match = compile_routes([rule], default_upstream="app").match("", "GET", "/x")
    assert isinstance(match, RouteMatch)
    assert resource_of(match) == ""
