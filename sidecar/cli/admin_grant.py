"""``sidecar admin grant``."""

import click

from sidecar.cli.admin_context import Answer, Stores, answer, tenant_of
from sidecar.cli.admin_options import Asked, Duration, asking, changing, until, when
from sidecar.cli.admin_user import as_value, grant_lines
from sidecar.cli.console import table
from sidecar.model.errors import NotFound
from sidecar.model.facts import Effect, Rule, User
from sidecar.model.need import UserNeed
from sidecar.store.facts import FactStore
from sidecar.store.users import Users


@click.group()
def grant() -> None:
    """Permit or deny single actions to one user, beside its roles."""


@grant.command()
@click.argument("subject")
@click.argument("action")
@click.option("--on", "resource", default="*", show_default=True, help="On these resources only.")
@click.option("--for", "duration", type=Duration(), help="For so long (90s, 30m, 12h, 7d).")
@changing
def permit(asked: Asked, subject: str, action: str, resource: str, duration: float | None) -> None:
    """Permit ACTION to the user SUBJECT; doing it again changes for how long."""
    _add(asked, subject, Rule(Effect.ALLOW, action, resource), duration)


@grant.command()
@click.argument("subject")
@click.argument("action")
@click.option("--on", "resource", default="*", show_default=True, help="On these resources only.")
@click.option("--for", "duration", type=Duration(), help="For so long (90s, 30m, 12h, 7d).")
@changing
def deny(asked: Asked, subject: str, action: str, resource: str, duration: float | None) -> None:
    """Deny ACTION to the user SUBJECT, whatever its roles permit."""
    _add(asked, subject, Rule(Effect.DENY, action, resource), duration)


@grant.command()
@click.argument("subject")
@click.argument("action")
@click.option("--on", "resource", default="*", show_default=True, help="As it was given.")
@click.option("--deny", "denied", is_flag=True, help="Take back what was denied, not permitted.")
@changing
def revoke(asked: Asked, subject: str, action: str, resource: str, *, denied: bool) -> None:
    """Undo `permit`, or `deny` with --deny."""
    rule = Rule(Effect.DENY if denied else Effect.ALLOW, action, resource)

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        changes = await Users(stores.pool).revoke(tenant, subject, rule)
        text = f"{subject} no longer has: {rule.effect} {action} on {resource}"
        return Answer({"tenant": tenant, "subject": subject}, text, changes, tenant)

    answer(asked, work)


@grant.command("list")
@click.argument("subject")
@asking
def list_(asked: Asked, subject: str) -> None:
    """List the roles and grants of the user SUBJECT."""

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        found = await FactStore(stores.pool).read(UserNeed(tenant, subject))
        if not isinstance(found, User):
            raise NotFound(f'there is no user "{subject}" in tenant "{tenant}"')
        value = as_value(found)
        return Answer({"roles": value["roles"], "rules": value["rules"]}, table(grant_lines(found)))

    answer(asked, work)


def _add(asked: Asked, subject: str, rule: Rule, duration: float | None) -> None:
    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        ends = until(duration)
        changes = await Users(stores.pool).grant(tenant, subject, rule, ends)
        value = {
            "tenant": tenant,
            "subject": subject,
            "effect": rule.effect,
            "action": rule.action,
            "resource": rule.resource,
            "expires_at": ends,
        }
        limit = "" if ends is None else f" until {when(ends)}"
        text = f"{subject}: {rule.effect} {rule.action} on {rule.resource}{limit}"
        return Answer(value, text, changes, tenant)

    answer(asked, work)
