"""``sidecar admin role``."""

from collections.abc import Awaitable, Callable

import click

from sidecar.cli.admin_context import Answer, Stores, answer, tenant_of
from sidecar.cli.admin_options import Asked, asking, changing
from sidecar.cli.console import table
from sidecar.model.change import Change
from sidecar.model.errors import NotFound
from sidecar.model.facts import Effect, Role, RoleGraph, Rule
from sidecar.model.need import RolesNeed
from sidecar.store.facts import FactStore
from sidecar.store.roles import Roles

Step = Callable[[Roles, str], Awaitable[tuple[Change, ...]]]


@click.group()
def role() -> None:
    """Create, list, show and delete roles; what they permit, deny and inherit."""


@role.command()
@click.argument("name")
@changing
def create(asked: Asked, name: str) -> None:
    """Create the role NAME, without rules."""
    _change(asked, f"created role {name}", lambda roles, tenant: roles.create(tenant, name))


@role.command()
@click.argument("name")
@changing
def delete(asked: Asked, name: str) -> None:
    """Delete the role NAME; who holds it no longer does."""
    _change(asked, f"deleted role {name}", lambda roles, tenant: roles.delete(tenant, name))


@role.command("list")
@asking
def list_(asked: Asked) -> None:
    """List the roles of a tenant."""

    async def work(stores: Stores) -> Answer:
        graph = await _graph(asked, stores)
        lines: list[tuple[str, ...]] = [("ROLE", "INHERITS", "RULES")]
        lines += [
            (each.name, ", ".join(each.parents) or "-", str(len(each.rules)))
            for each in graph.roles
        ]
        return Answer([_as_value(each) for each in graph.roles], table(lines))

    answer(asked, work)


@role.command()
@click.argument("name")
@asking
def show(asked: Asked, name: str) -> None:
    """Show a role: its own rules, and what it inherits."""

    async def work(stores: Stores) -> Answer:
        graph = await _graph(asked, stores)
        found = next((each for each in graph.roles if each.name == name), None)
        if found is None:
            raise NotFound(f'there is no role "{name}" in tenant "{graph.tenant}"')
        lines: list[tuple[str, ...]] = [("RULE", "ACTION", "RESOURCE")]
        lines += [("inherits", parent, "") for parent in found.parents]
        lines += [(rule.effect.value, rule.action, rule.resource) for rule in found.rules]
        return Answer(_as_value(found), table(lines))

    answer(asked, work)


@role.command()
@click.argument("name")
@click.argument("parent")
@changing
def inherit(asked: Asked, name: str, parent: str) -> None:
    """Let the role NAME have all rules of PARENT."""
    _change(
        asked,
        f"{name} inherits {parent}",
        lambda roles, tenant: roles.inherit(tenant, name, parent),
    )


@role.command()
@click.argument("name")
@click.argument("parent")
@changing
def disinherit(asked: Asked, name: str, parent: str) -> None:
    """Undo `inherit`."""
    _change(
        asked,
        f"{name} no longer inherits {parent}",
        lambda roles, tenant: roles.disinherit(tenant, name, parent),
    )


@role.command()
@click.argument("name")
@click.argument("action")
@click.option("--on", "resource", default="*", show_default=True, help="On these resources only.")
@changing
def permit(asked: Asked, name: str, action: str, resource: str) -> None:
    """Permit ACTION (`orders:read`, `orders:*`, `*`) to the role NAME."""
    _add(asked, name, Rule(Effect.ALLOW, action, resource))


@role.command()
@click.argument("name")
@click.argument("action")
@click.option("--on", "resource", default="*", show_default=True, help="On these resources only.")
@changing
def deny(asked: Asked, name: str, action: str, resource: str) -> None:
    """Deny ACTION to the role NAME, whatever else permits it."""
    _add(asked, name, Rule(Effect.DENY, action, resource))


@role.command()
@click.argument("name")
@click.argument("action")
@click.option("--on", "resource", default="*", show_default=True, help="As it was given.")
@click.option("--deny", "denied", is_flag=True, help="Remove what was denied, not permitted.")
@changing
def remove(asked: Asked, name: str, action: str, resource: str, *, denied: bool) -> None:
    """Undo `permit`, or `deny` with --deny."""
    rule = Rule(Effect.DENY if denied else Effect.ALLOW, action, resource)
    _change(
        asked,
        f"{name} no longer has: {rule.effect} {action} on {resource}",
        lambda roles, tenant: roles.remove_rule(tenant, name, rule),
    )


def _add(asked: Asked, name: str, rule: Rule) -> None:
    _change(
        asked,
        f"{name}: {rule.effect} {rule.action} on {rule.resource}",
        lambda roles, tenant: roles.add_rule(tenant, name, rule),
    )


def _change(asked: Asked, text: str, step: Step) -> None:
    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        changes = await step(Roles(stores.pool), tenant)
        return Answer({"tenant": tenant, "changed": bool(changes)}, text, changes, tenant)

    answer(asked, work)


async def _graph(asked: Asked, stores: Stores) -> RoleGraph:
    tenant = await tenant_of(asked, stores)
    graph = await FactStore(stores.pool).read(RolesNeed(tenant))
    if not isinstance(graph, RoleGraph):
        raise NotFound(f'there is no tenant "{tenant}"')
    return graph


def _as_value(found: Role) -> dict[str, object]:
    return {
        "name": found.name,
        "inherits": found.parents,
        "rules": [
            {"effect": rule.effect, "action": rule.action, "resource": rule.resource}
            for rule in found.rules
        ],
    }
