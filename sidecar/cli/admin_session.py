"""``sidecar admin session``."""

import time

import click

from sidecar.accounts.sessions import Sessions
from sidecar.authenticate.opaque import signing_key
from sidecar.cli.admin_context import Answer, Stores, answer, tenant_of
from sidecar.cli.admin_options import Asked, Duration, asking, changing, when
from sidecar.cli.console import Code, fail, table
from sidecar.store.sessions import SessionRow, SessionRows

# As the settings demand.
_KEY_CHARACTERS = 32


@click.group()
def session() -> None:
    """Create, list and revoke sessions."""


@session.command()
@click.option("--user", "subject", required=True, help="Whose session it is.")
@click.option("--lifetime", type=Duration(), help="For so long (90s, 30m, 12h, 7d).")
@asking
def create(asked: Asked, subject: str, lifetime: float | None) -> None:
    """Sign a user in: prints the token, once.

    Present it as `Authorization: Bearer TOKEN` or in the session cookie.
    """

    async def work(stores: Stores) -> Answer:
        if len(stores.places.token_key) < _KEY_CHARACTERS:
            fail(
                "the key that signs tokens is missing, or shorter than 32 characters",
                "set SIDECAR_TOKEN_KEY to that of the sidecars, or give --config FILE",
                Code.USAGE,
            )
        tenant = await tenant_of(asked, stores)
        seconds = stores.places.lifetime_seconds if lifetime is None else lifetime
        issued = await _sessions(stores).issue(tenant, subject, seconds)
        value = {
            "token": issued.token,
            "id": issued.id,
            "tenant": tenant,
            "subject": subject,
            "expires_at": issued.expires_at,
        }
        remark = f"session {issued.id} of {subject} until {when(issued.expires_at)}"
        return Answer(value, issued.token, remark=remark)

    answer(asked, work)


@session.command("list")
@click.option("--user", "subject", help="Of this user only.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 100_000))
@asking
def list_(asked: Asked, subject: str | None, limit: int) -> None:
    """List sessions, ended ones included."""

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        rows = await SessionRows(stores.pool).list(tenant, subject, limit)
        now = time.time()
        lines: list[tuple[str, ...]] = [("SESSION", "USER", "CREATED", "EXPIRES", "STATE")]
        lines += [
            (row.id, row.subject, when(row.created_at), when(row.expires_at), _state(row, now))
            for row in rows
        ]
        return Answer([{**row._asdict(), "state": _state(row, now)} for row in rows], table(lines))

    answer(asked, work)


@session.command()
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--user", "subject", help="All sessions of this user.")
@changing
def revoke(asked: Asked, identifier: str | None, subject: str | None) -> None:
    """End the session ID (of `session list`), or all sessions of a user."""
    if (identifier is None) == (subject is None):
        raise click.UsageError("give a session's ID, or --user NAME for all of a user's")

    async def work(stores: Stores) -> Answer:
        tenant = await tenant_of(asked, stores)
        rows = SessionRows(stores.pool)
        if identifier is not None:
            revoked = await rows.revoke(tenant, identifier)
            text = f"revoked session {identifier}"
        else:
            revoked = await rows.revoke_all(tenant, subject or "")
            text = f"revoked {revoked.ended} session(s) of {subject}"
        value = {"revoked": revoked.ended}
        return Answer(value, text, revoked.changes, tenant, shows_level=True)

    answer(asked, work)


def _sessions(stores: Stores) -> Sessions:
    return Sessions(
        SessionRows(stores.pool),
        stores.publisher.publish,
        signing_key(stores.places.token_key),
        wall=time.time,
    )


def _state(row: SessionRow, now: float) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at <= now else "active"
