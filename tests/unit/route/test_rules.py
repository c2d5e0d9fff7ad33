"""From rules to a table: every problem told, with its place."""

import pytest

from sidecar.model.route import Access
from sidecar.route.rules import RoutesError, compile_route, compile_routes
from sidecar.settings.schema import RouteRule


def problems(*rules: RouteRule) -> list[tuple[int, str, str]]:
    with pytest.raises(RoutesError) as raised:
        compile_routes(rules, default_upstream="app")
    return [(each.index, each.field, each.message) for each in raised.value.problems]


def public(path: str, host: str | None = None, methods: tuple[str, ...] = ()) -> RouteRule:
    return RouteRule(path=path, access="public", host=host, methods=methods)


GOOD = public("/good")


@pytest.mark.parametrize(
    ("rule", "field", "message"),
    [
        (RouteRule(path="/a"), "access", "say 'public'"),
        (RouteRule(path="/a", access="public", permission="a:b"), "access", "one of the two"),
        (RouteRule(path="/a", permission="a:*"), "permission", "not an action"),
        (RouteRule(path="/a", permission="a b"), "permission", "not an action"),
        (RouteRule(path="/a", permission=":".join("abcdefghi")), "permission", "not an action"),
        (RouteRule(path="a", access="public"), "path", "begins with"),
        (RouteRule(path="/{a}", permission="a:b", resource="a/{b}"), "resource", "unknown"),
        (RouteRule(path="/a", access="public", resource="a"), "resource", "nobody asks"),
        (RouteRule(path="/a", access="public", scopes=("x",)), "scopes", "no token"),
        (RouteRule(path="/a", access="public", audiences=("x",)), "audiences", "no token"),
        (RouteRule(path="/a", access="public", methods=("get",)), "methods", "upper case"),
        (RouteRule(path="/a", access="public", methods=("",)), "methods", "upper case"),
        (RouteRule(path="/a", access="public", host="a:80"), "host", "without port"),
        (RouteRule(path="/a", access="public", name=""), "name", "printable"),
        (RouteRule(path="/a", access="public", name="a\n"), "name", "printable"),
        (public("/_sidecar/x"), "path", "reserved"),
        (public("/_sidecar"), "path", "reserved"),
        (public("/%5fsidecar/{rest*}"), "path", "reserved"),
    ],
)
def test_one_wrong_rule(rule: RouteRule, field: str, message: str) -> None:
    ((index, where, text),) = problems(GOOD, rule)
    assert (index, where) == (1, field)
    assert message in text


def test_all_problems_are_told_at_once() -> None:
    found = problems(RouteRule(path="x"), GOOD, public("/{a}/{a}"), public("/good"))
    places = [(index, field) for index, field, _ in found]
    assert places == [(0, "access"), (0, "path"), (2, "path"), (3, "name"), (3, "path")]


@pytest.mark.parametrize(
    ("first", "second", "unreachable"),
    [
        (public("/a/{x}"), public("/a/{y}"), True),
        (public("/a/{x*}"), public("/a/{y*}"), True),
        (public("/a:b"), public("/a%3Ab"), True),
        (public("/a", host="H.example"), public("/a", host="h.example"), True),
        (public("/a", methods=("GET", "PUT")), public("/a", methods=("PUT",)), True),
        (public("/a", methods=("GET",)), public("/a", methods=("HEAD",)), True),
        (public("/a", methods=("GET",)), public("/a", methods=("HEAD", "PUT")), False),
        (public("/a", methods=("GET",)), public("/a"), False),
        (public("/a"), public("/a", methods=("PUT",)), True),
    ],
)
def test_two_rules_for_the_same_requests(
    first: RouteRule,
    second: RouteRule,
    unreachable: bool,  # a column of the table
) -> None:
    found = [each for each in problems(first, second) if each[1] == "path"]
    ((index, _, message),) = found
    assert index == 1
    assert f"routes[0] ({first.path})" in message
    assert ("never be reached" in message) is unreachable


def test_a_public_route_has_no_last_known_good() -> None:
    rule = RouteRule(path="/a", access="public", last_known_good_seconds=1.0)
    assert problems(rule) == [
        (0, "last_known_good_seconds", "a public route asks no store, so it needs none")
    ]


def test_two_rules_of_one_name() -> None:
    one, two = (RouteRule(path=f"/{n}", access="public", name="same") for n in "ab")
    assert problems(one, two) == [(1, "name", "'same' is also the name of routes[0]")]


def test_rules_that_share_a_template_by_method_or_host() -> None:
    rules = [
        public("/a", methods=("GET",)),
        public("/a", methods=("PUT", "POST")),
        public("/a", host="h"),
        public("/a/{x}"),
        public("/a/b"),
        public("/{r*}"),
    ]
    table = compile_routes(rules, default_upstream="app")
    assert [route.name for route in table.routes] == [
        "GET /a",
        "PUT|POST /a",
        "* h/a",
        "* /a/{x}",
        "* /a/b",
        "* /{r*}",
    ]


def test_a_route_keeps_what_its_rule_says() -> None:
    rule = RouteRule(
        path="/o/{id}",
        host="A.Example",
        methods=("GET",),
        permission="orders:read",
        resource="orders/{id}",
        upstream="shop",
        audiences=("x",),
        scopes=("y",),
        conceal=True,
        forward_credential=True,
        last_known_good_seconds=60.0,
        name="show",
    )
    (route,) = compile_routes([rule], default_upstream="app").routes
    assert route.name == "show"
    assert route.host == "a.example"
    assert route.methods == {"GET", "HEAD"}
    assert (route.access, route.action) == (Access.PERMISSION, "orders:read")
    assert (route.resource, route.upstream) == ("orders/{id}", "shop")
    assert route.audiences == {"x"}
    assert route.scopes == {"y"}
    assert (route.conceal, route.forward_credential) == (True, True)
    assert route.last_known_good_seconds == 60.0


def test_the_default_upstream() -> None:
    (route,) = compile_routes([GOOD], default_upstream="shop").routes
    assert route.upstream == "shop"


def test_our_own_routes_are_below_the_reserved_path() -> None:
    with pytest.raises(ValueError, match="below /_sidecar/"):
        compile_route("/health", name="health", methods=("GET",), upstream="sidecar")
    route = compile_route(
        "/_sidecar/{x}",
        name="x",
        methods=("GET",),
        upstream="sidecar",
        access=Access.PERMISSION,
        action="a:b",
        resource="x/{x}",
    )
    assert route.methods == {"GET", "HEAD"}
    assert route.resource == "x/{x}"
    with pytest.raises(ValueError, match="the same"):
        compile_routes([GOOD], default_upstream="app", own=[route, route])


def test_the_error_says_where() -> None:
    with pytest.raises(RoutesError, match=r"routes\[0\]\.path: a path begins with '/'"):
        compile_routes([public("x")], default_upstream="app")
