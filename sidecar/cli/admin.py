"""``sidecar admin``: tenants, users, roles, grants and sessions, in the stores themselves."""

import click

from sidecar.cli.admin_grant import grant
from sidecar.cli.admin_role import role
from sidecar.cli.admin_session import session
from sidecar.cli.admin_tenant import tenant
from sidecar.cli.admin_user import user


@click.group()
def admin() -> None:
    """Manage tenants, users, roles, grants and sessions.

    Works on the stores directly: they are named by a configuration (--config,
    SIDECAR_CONFIG) or by DATABASE_URL and REDIS_URL. Sidecars hear of changes
    at once.

    Exit codes: 0 done, 1 refused or not found, 2 wrong usage, 3 no database.
    """


for group in (tenant, user, role, grant, session):
    admin.add_command(group)
