"""When there is a gate, and what it leaves alone."""

from typing import Any

import pytest

from sidecar.authorize.authorizer import Authorizer
from sidecar.authorize.principal import IdentityFields
from sidecar.gate import Gate, gate_of
from sidecar.model.decision import Denial, Missing
from sidecar.model.need import RolesNeed
from sidecar.model.reason import Reason
from sidecar.route.rules import compile_route, compile_routes
from sidecar.settings.schema import Cache, CorsRule, Identity, Overload, Rate, RouteRule

RATE = {"a": Rate(per="address", requests=1)}
CORS = CorsRule(origins=("https://app.example",))


def gate(*rules: RouteRule, limits: Overload | None = None, connections: int = 10) -> Gate | None:
    own = [compile_route("/_sidecar/me", name="me", methods=["GET"], upstream="own")]
    return gate_of(
        limits=limits or Overload(),
        connections=connections,
        rules=rules,
        table=compile_routes(rules, default_upstream="app", own=own),
        authorizer=Authorizer(Cache(), IdentityFields(Identity())),
        is_trusted=lambda _: False,
    )


@pytest.mark.parametrize(
    ("rule", "limits", "asked"),
    [
        ({}, Overload(), False),
        ({}, Overload(requests=10), False),
        ({}, Overload(requests=9), True),
        ({}, Overload(rates=RATE), True),
        ({"rates": RATE}, Overload(), True),
        ({"cors": CORS}, Overload(), True),
        ({"preflight": "forward"}, Overload(), True),
    ],
)
def test_there_is_a_gate_only_where_something_is_asked(
    rule: dict[str, Any], limits: Overload, *, asked: bool
) -> None:
    assert (gate(RouteRule(path="/", access="public", **rule), limits=limits) is not None) is asked


@pytest.mark.parametrize("verdict", [Missing((RolesNeed("acme"),)), Denial(Reason.UNKNOWN_ROUTE)])
def test_what_is_not_permitted_is_left_as_it_is(verdict: Missing | Denial) -> None:
    made = gate(RouteRule(path="/", access="public", rates=RATE, cors=CORS))
    assert made is not None
    exchange: Any = object()  # nothing of it is looked at
    assert made.passes(exchange, verdict) is verdict
