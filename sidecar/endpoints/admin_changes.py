"""What the admin API can change: one table, from which its routes and its documentation come.

Everything goes through the functions of `sidecar.store` that `sidecar admin` calls.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from sidecar.model.change import Change, Level
from sidecar.model.facts import Effect, Rule, Status
from sidecar.store.pool import Pool
from sidecar.store.roles import Roles
from sidecar.store.sessions import SessionRows
from sidecar.store.tenants import Tenants
from sidecar.store.users import Users

# The year 9999: what PostgreSQL and Python both can write. Seconds since the epoch.
_Instant = Annotated[float, Meta(gt=0, le=253_402_300_799)]


class Acknowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The query of every call: how far the change has to come, and how long to wait for that."""

    ack: Level = Level.PUBLISHED
    ack_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 10.0


class OnResource(Acknowledge, frozen=True, kw_only=True):
    """Names an assignment by the resource it was given for."""

    resource: str = "*"


class NamedRule(OnResource, frozen=True, kw_only=True):
    """Names a rule."""

    action: str
    effect: Effect = Effect.ALLOW


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all bodies."""


class StatusBody(Body, frozen=True, kw_only=True):
    """``{"status": "disabled"}``."""

    status: Status


class AssignmentBody(Body, frozen=True, kw_only=True):
    """``{"resource": "orders/*", "expires_at": 1800000000}``; both may be left out."""

    resource: str = "*"
    expires_at: _Instant | None = None


class RuleBody(Body, frozen=True, kw_only=True):
    """``{"action": "orders:read", "effect": "allow", "resource": "*"}``."""

    action: str
    effect: Effect = Effect.ALLOW
    resource: str = "*"


class GrantBody(RuleBody, frozen=True, kw_only=True):
    """A `RuleBody` that may end."""

    expires_at: _Instant | None = None


class Done(NamedTuple):
    """What was changed: for the answer, and to be announced."""

    value: dict[str, Any]
    changes: tuple[Change, ...]


class Call(NamedTuple):
    """One call, its names, body and query read.

    Attributes:
        pool: where PostgreSQL is.
        names: from the path.
        body: of the operation's type; None where it takes none.
        query: of the operation's type.
    """

    pool: Pool
    names: Mapping[str, str]
    body: Any
    query: Any


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table.

    Attributes:
        name: for audit records and metrics.
        method: PUT and POST take a body, DELETE takes none; each may be repeated.
        path: below the API's prefix; names in braces.
        run: does it; raises `NotFound`, `Refused`, `Invalid`, `StoresUnavailable`.
        body: its shape; None for no body.
        query: shape of the query.
    """

    name: str
    method: str
    path: str
    run: Callable[[Call], Awaitable[Done]]
    body: type[Body] | None = None
    query: type[Acknowledge] = Acknowledge


def _rule(asked: RuleBody | NamedRule) -> Rule:
    return Rule(asked.effect, asked.action, asked.resource)


async def _tenant_status(call: Call) -> Done:
    changes = await Tenants(call.pool).set_status(call.names["tenant"], call.body.status)
    return Done({"status": call.body.status}, changes)


async def _user_status(call: Call) -> Done:
    users = Users(call.pool)
    changes = await users.set_status(call.names["tenant"], call.names["subject"], call.body.status)
    return Done({"status": call.body.status}, changes)


async def _delete_user(call: Call) -> Done:
    return Done({}, await Users(call.pool).delete(call.names["tenant"], call.names["subject"]))


async def _revoke_session(call: Call) -> Done:
    found = await SessionRows(call.pool).revoke(call.names["tenant"], call.names["session"])
    return Done({"revoked": found.ended}, found.changes)


async def _revoke_sessions(call: Call) -> Done:
    found = await SessionRows(call.pool).revoke_all(call.names["tenant"], call.names["subject"])
    return Done({"revoked": found.ended}, found.changes)


async def _assign(call: Call) -> Done:
    body: AssignmentBody = call.body
    tenant, subject, role = (call.names[name] for name in ("tenant", "subject", "role"))
    users = Users(call.pool)
    changes = await users.assign(tenant, subject, role, body.resource, body.expires_at)
    return Done({"resource": body.resource, "expires_at": body.expires_at}, changes)


async def _unassign(call: Call) -> Done:
    tenant, subject, role = (call.names[name] for name in ("tenant", "subject", "role"))
    changes = await Users(call.pool).unassign(tenant, subject, role, call.query.resource)
    return Done({"resource": call.query.resource}, changes)


async def _grant(call: Call) -> Done:
    body: GrantBody = call.body
    tenant, subject = call.names["tenant"], call.names["subject"]
    changes = await Users(call.pool).grant(tenant, subject, _rule(body), body.expires_at)
    return Done(msgspec.structs.asdict(body), changes)


async def _revoke_grant(call: Call) -> Done:
    rule = _rule(call.query)
    tenant, subject = call.names["tenant"], call.names["subject"]
    return Done(_told(rule), await Users(call.pool).revoke(tenant, subject, rule))


async def _delete_role(call: Call) -> Done:
    return Done({}, await Roles(call.pool).delete(call.names["tenant"], call.names["role"]))


async def _add_rule(call: Call) -> Done:
    rule = _rule(call.body)
    roles = Roles(call.pool)
    return Done(_told(rule), await roles.add_rule(call.names["tenant"], call.names["role"], rule))


async def _remove_rule(call: Call) -> Done:
    rule, roles = _rule(call.query), Roles(call.pool)
    changes = await roles.remove_rule(call.names["tenant"], call.names["role"], rule)
    return Done(_told(rule), changes)


async def _inherit(call: Call) -> Done:
    tenant, role, parent = (call.names[name] for name in ("tenant", "role", "parent"))
    return Done({}, await Roles(call.pool).inherit(tenant, role, parent))


async def _disinherit(call: Call) -> Done:
    tenant, role, parent = (call.names[name] for name in ("tenant", "role", "parent"))
    return Done({}, await Roles(call.pool).disinherit(tenant, role, parent))


def _told(rule: Rule) -> dict[str, Any]:
    return {"action": rule.action, "effect": rule.effect, "resource": rule.resource}


_TENANT: Final = "/tenants/{tenant}"
_USER: Final = _TENANT + "/users/{subject}"
_ROLE: Final = _TENANT + "/roles/{role}"

OPERATIONS: Final = (
    Operation("set-tenant-status", "PUT", _TENANT + "/status", _tenant_status, StatusBody),
    Operation("revoke-session", "DELETE", _TENANT + "/sessions/{session}", _revoke_session),
    Operation("revoke-sessions", "DELETE", _USER + "/sessions", _revoke_sessions),
    Operation("set-user-status", "PUT", _USER + "/status", _user_status, StatusBody),
    Operation("delete-user", "DELETE", _USER, _delete_user),
    Operation("assign-role", "PUT", _USER + "/roles/{role}", _assign, AssignmentBody),
    Operation("unassign-role", "DELETE", _USER + "/roles/{role}", _unassign, query=OnResource),
    Operation("grant-permission", "POST", _USER + "/permissions", _grant, GrantBody),
    Operation(
        "revoke-permission", "DELETE", _USER + "/permissions", _revoke_grant, None, NamedRule
    ),
    Operation("delete-role", "DELETE", _ROLE, _delete_role),
    Operation("add-role-rule", "POST", _ROLE + "/rules", _add_rule, RuleBody),
    Operation("remove-role-rule", "DELETE", _ROLE + "/rules", _remove_rule, None, NamedRule),
    Operation("add-role-parent", "PUT", _ROLE + "/parents/{parent}", _inherit, Body),
    Operation("remove-role-parent", "DELETE", _ROLE + "/parents/{parent}", _disinherit),
)
