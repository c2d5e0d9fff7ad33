"""Explanations for tests: a permit through two roles, and refusals."""

from dataclasses import replace

from sidecar.model.decision import Principal, RuleOrigin
from sidecar.model.explanation import Explanation, Step
from sidecar.model.reason import Reason
from sidecar.model.route import Access, Route

ROUTE = Route(
    name="read-order",
    host=None,
    template="/api/orders/{order_id}",
    methods=frozenset({"GET", "HEAD"}),
    access=Access.PERMISSION,
    action="orders:read",
    resource="orders/{order_id}",
)
PERMIT = Explanation(
    method="GET",
    path="/api/orders/17",
    host="localhost",
    permitted=True,
    reason=Reason.GRANTED,
    route=ROUTE,
    parameters={"order_id": "17"},
    resource="orders/17",
    principal=Principal("acme", "alice", ("admin", "reader"), "session", "s-1", 9e9, b"X: y\r\n"),
    origin=RuleOrigin("allow", "orders:*", "*", ("admin", "reader")),
    steps=(
        Step("session", "0123456789ab", "redis", 12),
        Step("user", "acme/alice", "memory", 7),
        Step("roles", "acme", "postgres", 3),
    ),
)
REFUSAL = replace(
    PERMIT,
    permitted=False,
    reason=Reason.NOT_GRANTED,
    status=403,
    detail="no rule allows orders:read on orders/17",
    origin=None,
)
UNKNOWN = Explanation(
    method="GET",
    path="/nowhere",
    host="",
    permitted=False,
    reason=Reason.UNKNOWN_ROUTE,
    status=404,
)
