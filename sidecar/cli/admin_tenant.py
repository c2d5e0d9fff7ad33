"""``sidecar admin tenant``."""

import click

from sidecar.cli.admin_context import Answer, Stores, answer
from sidecar.cli.admin_options import Asked, asking, changing
from sidecar.cli.console import table
from sidecar.model.facts import Status
from sidecar.store.tenants import Tenants


@click.group()
def tenant() -> None:
    """Create, list, disable and enable tenants."""


@tenant.command()
@click.argument("slug")
@click.option("--name", default="", help="What people call it.")
@changing
def create(asked: Asked, slug: str, name: str) -> None:
    """Create the tenant SLUG (a-z 0-9 . _ -)."""

    async def work(stores: Stores) -> Answer:
        changes = await Tenants(stores.pool).create(slug, name)
        return Answer({"tenant": slug, "name": name}, f"created tenant {slug}", changes, slug)

    answer(asked, work)


@tenant.command("list")
@asking
def list_(asked: Asked) -> None:
    """List all tenants."""

    async def work(stores: Stores) -> Answer:
        rows = await Tenants(stores.pool).list()
        lines = [("TENANT", "NAME", "STATUS"), *((row.slug, row.name, row.status) for row in rows)]
        return Answer([row._asdict() for row in rows], table(lines))

    answer(asked, work)


@tenant.command()
@click.argument("slug")
@changing
def disable(asked: Asked, slug: str) -> None:
    """Refuse all users of the tenant SLUG from now on."""
    _set(asked, slug, Status.DISABLED)


@tenant.command()
@click.argument("slug")
@changing
def enable(asked: Asked, slug: str) -> None:
    """Undo `disable`."""
    _set(asked, slug, Status.ACTIVE)


def _set(asked: Asked, slug: str, status: Status) -> None:
    async def work(stores: Stores) -> Answer:
        changes = await Tenants(stores.pool).set_status(slug, status)
        return Answer(
            {"tenant": slug, "status": status}, f"tenant {slug} is {status}", changes, slug
        )

    answer(asked, work)
