"""An `Explanation` as text for people, and as a value for JSON. Pure."""

from typing import Any

from sidecar.cli.console import paint, table
from sidecar.cli.message_text import message_text, message_value, origin_text, origin_value
from sidecar.model.explanation import Explanation
from sidecar.model.route import Access, Route


def explanation_text(explanation: Explanation) -> str:
    """The explanation as aligned lines, the outcome last."""
    request = f"{explanation.method} {explanation.path}"
    if explanation.host:
        request += f" at {explanation.host}"
    rows = [
        ("request", request),
        *_route_rows(explanation),
        *_principal_rows(explanation),
        *_rule_rows(explanation),
        *_step_rows(explanation),
    ]
    text = f"{table(rows)}\n{_outcome(explanation)}"
    if explanation.message is not None:
        text += f"\n{message_text(explanation.message)}"
    return text


def _route_rows(explanation: Explanation) -> list[tuple[str, str]]:
    route = explanation.route
    if route is None:
        return [("route", "none matches")]
    place = f"{route.host or ''}{route.template}"
    # A name that was made from methods and path would only say the same again.
    name = "" if route.name.endswith(place) else f"{route.name}: "
    rows = [("route", f"{name}{_methods(route)} {place}")]
    rows += [("", f"{name} = {value}") for name, value in explanation.parameters.items()]
    rows.append(("asks for", asked(explanation)))
    if route.last_known_good_seconds:
        seconds = f"{route.last_known_good_seconds:g}"
        rows.append(("no store", f"what could be used {seconds} s ago still permits"))
    return rows


def _methods(route: Route) -> str:
    return ", ".join(sorted(route.methods)) or "any method"


def asked(explanation: Explanation) -> str:
    """What the route asks of whoever calls it."""
    route = explanation.route
    if route is None or route.access is Access.PUBLIC:
        return "nothing: it is public"
    if route.access is Access.AUTHENTICATED:
        text = "anybody who is signed in"
    else:
        text = f"permission {route.action}"
        if explanation.resource:
            text += f" on {explanation.resource}"
    if route.audiences:
        text += f"; audience {' or '.join(sorted(route.audiences))}"
    if route.scopes:
        text += f"; scopes {', '.join(sorted(route.scopes))}"
    return text


def _principal_rows(explanation: Explanation) -> list[tuple[str, str]]:
    principal = explanation.principal
    if principal is None:
        return [("who", "nobody that is known")]
    who = f"{principal.tenant}/{principal.subject}, by {principal.credential}"
    roles = ", ".join(principal.roles) or "none"
    return [("who", who), ("roles", roles)]


def _rule_rows(explanation: Explanation) -> list[tuple[str, str]]:
    origin = explanation.origin
    if origin is None:
        return []
    return [("rule", origin_text(origin))]


def _step_rows(explanation: Explanation) -> list[tuple[str, str]]:
    steps = [
        (step.kind, step.key, _tier(step.tier), _version(step.version))
        for step in explanation.steps
    ]
    if not steps:
        return [("loaded", "nothing")]
    lines = table(steps).splitlines()
    return [("loaded" if index == 0 else "", line) for index, line in enumerate(lines)]


def _tier(tier: str) -> str:
    return "not found" if tier == "absent" else f"from {tier}"


def _version(version: int | None) -> str:
    return "" if version is None else f"version {version}"


def _outcome(explanation: Explanation) -> str:
    if explanation.permitted:
        upstream = explanation.route.upstream if explanation.route else "the upstream"
        return f"{paint('permitted', 'green')} ({explanation.reason}): goes to {upstream}"
    text = f"{paint('refused', 'red')} with {explanation.status} ({explanation.reason})"
    if explanation.detail:
        text += f": {explanation.detail}"
    if explanation.allow:
        text += f"; allowed are {', '.join(explanation.allow)}"
    if explanation.route is not None and explanation.route.conceal and explanation.status == 404:
        text += "; the route conceals itself, so the client sees 404"
    return text


def explanation_value(explanation: Explanation) -> dict[str, Any]:
    """The explanation as plain values; the keys are stable."""
    route, principal, origin = explanation.route, explanation.principal, explanation.origin
    return {
        "request": {
            "method": explanation.method,
            "path": explanation.path,
            "host": explanation.host,
        },
        "permitted": explanation.permitted,
        "reason": explanation.reason.value,
        "status": explanation.status,
        "detail": explanation.detail,
        "allow": list(explanation.allow),
        "route": route
        and {
            "name": route.name,
            "host": route.host,
            "path": route.template,
            "methods": sorted(route.methods),
            "access": route.access.value,
            "permission": route.action or None,
            "upstream": route.upstream,
            "conceal": route.conceal,
            "last_known_good_seconds": route.last_known_good_seconds,
        },
        "parameters": explanation.parameters,
        "resource": explanation.resource or None,
        "principal": principal
        and {
            "tenant": principal.tenant,
            "subject": principal.subject,
            "roles": list(principal.roles),
            "credential": principal.credential,
            "session_id": principal.session_id or None,
        },
        "rule": origin and origin_value(origin),
        "loaded": [
            {"kind": step.kind, "key": step.key, "tier": step.tier, "version": step.version}
            for step in explanation.steps
        ],
        "message": explanation.message and message_value(explanation.message),
    }
