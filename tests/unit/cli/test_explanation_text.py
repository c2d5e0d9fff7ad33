from dataclasses import replace

import msgspec
from click import unstyle

from sidecar.cli.explanation_text import asked, explanation_text, explanation_value
from sidecar.model.decision import RuleOrigin
from sidecar.model.explanation import Explanation, Step
from sidecar.model.route import Access, Route
from tests.unit.cli.explanations import PERMIT, REFUSAL, ROUTE, UNKNOWN


def text(explanation: Explanation) -> str:
    return unstyle(explanation_text(explanation))


def test_a_permit_is_told_from_the_route_to_the_rule() -> None:
    assert (
        text(PERMIT)
        == """\
request   GET /api/orders/17 at localhost
route     read-order: GET, HEAD /api/orders/{order_id}
          order_id = 17
asks for  permission orders:read on orders/17
who       acme/alice, by session
roles     admin, reader
rule      allow orders:* on *, through role admin -> reader
loaded    session  0123456789ab  from redis     version 12
          user     acme/alice    from memory    version 7
          roles    acme          from postgres  version 3
permitted (granted): goes to app"""
    )


def test_a_refusal_tells_status_and_detail() -> None:
    assert text(REFUSAL).splitlines()[-1] == (
        "refused with 403 (not-granted): no rule allows orders:read on orders/17"
    )
    assert "rule" not in [line.split()[0] for line in text(REFUSAL).splitlines()]


def test_a_request_without_a_route() -> None:
    assert (
        text(UNKNOWN)
        == """\
request  GET /nowhere
route    none matches
who      nobody that is known
loaded   nothing
refused with 404 (unknown-route)"""
    )


def test_a_route_that_accepts_the_last_known_good_says_so() -> None:
    lenient = replace(ROUTE, last_known_good_seconds=90.0)
    assert "no store  what could be used 90 s ago still permits" in text(
        replace(PERMIT, route=lenient)
    )
    assert (
        explanation_value(replace(PERMIT, route=lenient))["route"]["last_known_good_seconds"]
        == 90.0
    )


def test_a_concealed_refusal_says_what_the_client_sees() -> None:
    concealed = replace(REFUSAL, status=404, route=_route(conceal=True))
    assert text(concealed).endswith("; the route conceals itself, so the client sees 404")


def test_the_methods_that_would_do_are_named() -> None:
    assert text(replace(UNKNOWN, status=405, allow=("GET", "HEAD"))).endswith(
        "; allowed are GET, HEAD"
    )


def test_what_does_not_exist_has_no_version() -> None:
    absent = replace(REFUSAL, steps=(Step("user", "acme/bob", "absent"),))
    assert "loaded    user  acme/bob  not found\n" in text(absent)


def test_a_rule_granted_directly_has_no_roles() -> None:
    direct = replace(PERMIT, origin=RuleOrigin("allow", "a", "b", ()))
    assert "allow a on b, granted to the user directly" in text(direct)


def test_a_principal_without_roles() -> None:
    assert PERMIT.principal is not None
    without = replace(PERMIT, principal=replace(PERMIT.principal, roles=()))
    assert "roles     none\n" in text(without)


def test_what_a_route_asks_for() -> None:
    def asks(route: Route | None, resource: str | None = None) -> str:
        return asked(replace(UNKNOWN, route=route, resource=resource))

    assert asks(None) == "nothing: it is public"
    assert asks(_route(access=Access.PUBLIC)) == "nothing: it is public"
    assert asks(_route(access=Access.AUTHENTICATED)) == "anybody who is signed in"
    assert asks(ROUTE) == "permission orders:read"
    assert asks(ROUTE, "") == "permission orders:read"
    assert asks(_route(audiences=frozenset({"b", "a"}), scopes=frozenset({"s", "r"})), "x") == (
        "permission orders:read on x; audience a or b; scopes r, s"
    )


def test_any_method_at_a_host() -> None:
    route = _route(methods=frozenset(), host="api.example.com")
    assert "read-order: any method api.example.com/api/orders/{order_id}" in text(
        replace(PERMIT, route=route)
    )


def test_a_name_made_from_the_path_is_not_repeated() -> None:
    route = _route(name="GET /api/orders/{order_id}")
    assert "route     GET, HEAD /api/orders/{order_id}\n" in text(replace(PERMIT, route=route))


def test_json_has_everything_but_the_identity_fields() -> None:
    value = explanation_value(PERMIT)
    encoded = msgspec.json.encode(value)
    assert msgspec.json.decode(encoded) == value
    assert b"X: y" not in encoded
    assert value["route"]["permission"] == "orders:read"
    assert value["rule"]["path"] == ["admin", "reader"]
    assert value["loaded"][0] == {
        "kind": "session",
        "key": "0123456789ab",
        "tier": "redis",
        "version": 12,
    }
    assert value["reason"] == "granted"
    assert value["principal"]["subject"] == "alice"


def test_json_has_null_for_what_was_not_found() -> None:
    value = explanation_value(UNKNOWN)
    assert (value["route"], value["principal"], value["rule"]) == (None, None, None)
    assert value["status"] == 404


def _route(**changes: object) -> Route:
    return replace(ROUTE, **changes)  # type: ignore[arg-type] # names are checked at run time
