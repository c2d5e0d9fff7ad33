"""``sidecar admin user``."""

import click

from sidecar.cli.admin_context import Answer, Stores, answer, tenant_of
from sidecar.cli.admin_options import Asked, Duration, asking, changing, until, when
from sidecar.cli.console import table
from sidecar.model.errors import NotFound
from sidecar.model.facts import Status, User
from sidecar.model.need import UserNeed
from sidecar.store.facts import FactStore
from sidecar.store.users import Users


@click.group()
def user() -> None:
    """Create, list, show, disable, enable and delete users; assign roles."""


@user.command()
@click.argument("subject")
@click.option("--name", default="", help="What people call the user.")
@changing
def create(asked: Asked, subject: str, name: str) -> None:
    """Create the user SUBJECT."""

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        changes = await Users(stores.pool).create(tenant, subject, name)
        value = {"tenant": tenant, "subject": subject, "name": name}
        return Answer(value, f"created user {subject} in tenant {tenant}", changes, tenant)

    answer(asked, work)


@user.command("list")
@click.option("--after", default="", help="Begin after this name.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 100_000))
@asking
def list_(asked: Asked, after: str, limit: int) -> None:
    """List the users of a tenant."""

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        rows = await Users(stores.pool).list(tenant, after, limit)
        lines = [("USER", "NAME", "STATUS"), *((row.subject, row.name, row.status) for row in rows)]
        return Answer([row._asdict() for row in rows], table(lines))

    answer(asked, work)


@user.command()
@click.argument("subject")
@asking
def show(asked: Asked, subject: str) -> None:
    """Show a user with its roles and grants."""

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        found = await FactStore(stores.pool).read(UserNeed(tenant, subject))
        if not isinstance(found, User):
            raise NotFound(f'there is no user "{subject}" in tenant "{tenant}"')
        return Answer(as_value(found), _describe(found))

    answer(asked, work)


@user.command()
@click.argument("subject")
@changing
def disable(asked: Asked, subject: str) -> None:
    """Refuse a user from now on, whatever it presents."""
    _set(asked, subject, Status.DISABLED)


@user.command()
@click.argument("subject")
@changing
def enable(asked: Asked, subject: str) -> None:
    """Undo `disable`."""
    _set(asked, subject, Status.ACTIVE)


@user.command()
@click.argument("subject")
@changing
def delete(asked: Asked, subject: str) -> None:
    """Delete a user with all its grants and sessions."""

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        changes = await Users(stores.pool).delete(tenant, subject)
        value = {"tenant": tenant, "subject": subject}
        return Answer(value, f"deleted user {subject} of tenant {tenant}", changes, tenant)

    answer(asked, work)


@user.command()
@click.argument("subject")
@click.argument("role")
@click.option("--on", "resource", default="*", show_default=True, help="On these resources only.")
@click.option("--for", "duration", type=Duration(), help="For so long (90s, 30m, 12h, 7d).")
@changing
def assign(asked: Asked, subject: str, role: str, resource: str, duration: float | None) -> None:
    """Assign ROLE to the user SUBJECT; assigning again changes for how long."""

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        ends = until(duration)
        changes = await Users(stores.pool).assign(tenant, subject, role, resource, ends)
        value = {
            "tenant": tenant,
            "subject": subject,
            "role": role,
            "resource": resource,
            "expires_at": ends,
        }
        limit = "" if ends is None else f" until {when(ends)}"
        return Answer(value, f"{subject} has the role {role} on {resource}{limit}", changes, tenant)

    answer(asked, work)


@user.command()
@click.argument("subject")
@click.argument("role")
@click.option("--on", "resource", default="*", show_default=True, help="As it was assigned.")
@changing
def unassign(asked: Asked, subject: str, role: str, resource: str) -> None:
    """Take ROLE back from the user SUBJECT."""

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        changes = await Users(stores.pool).unassign(tenant, subject, role, resource)
        value = {"tenant": tenant, "subject": subject, "role": role, "resource": resource}
        return Answer(
            value, f"{subject} no longer has the role {role} on {resource}", changes, tenant
        )

    answer(asked, work)


def as_value(found: User) -> dict[str, object]:
    """A user with named fields; its own encoding is a bare array."""
    return {
        "tenant": found.tenant,
        "subject": found.subject,
        "status": found.status,
        "version": found.version,
        "roles": [
            {"role": grant.role, "resource": grant.resource, "expires_at": grant.expires_at}
            for grant in found.roles
        ],
        "rules": [
            {
                "effect": grant.rule.effect,
                "action": grant.rule.action,
                "resource": grant.rule.resource,
                "expires_at": grant.expires_at,
            }
            for grant in found.rules
        ],
    }


def grant_lines(found: User) -> list[tuple[str, ...]]:
    """Roles and rules of a user as a table."""
    lines: list[tuple[str, ...]] = [("GRANT", "WHAT", "RESOURCE", "EXPIRES")]
    lines += [("role", grant.role, grant.resource, when(grant.expires_at)) for grant in found.roles]
    lines += [
        (grant.rule.effect.value, grant.rule.action, grant.rule.resource, when(grant.expires_at))
        for grant in found.rules
    ]
    return lines


def _describe(found: User) -> str:
    head = f"{found.subject} of tenant {found.tenant}: {found.status}"
    return f"{head}\n{table(grant_lines(found))}"


def _set(asked: Asked, subject: str, status: Status) -> None:
    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        changes = await Users(stores.pool).set_status(tenant, subject, status)
        value = {"tenant": tenant, "subject": subject, "status": status}
        return Answer(value, f"user {subject} of tenant {tenant} is {status}", changes, tenant)

    answer(asked, work)
