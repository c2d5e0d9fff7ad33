"""What we answer ourselves, wired: to clients, to operators, and to probes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from sidecar.assembly.deciding import Deciding
from sidecar.assembly.tickets import ticket_issuer
from sidecar.audit.sink import AuditSink
from sidecar.clock import instant
from sidecar.endpoints.admin_api import AdminApi
from sidecar.endpoints.own import OwnEndpoints
from sidecar.endpoints.tickets import TicketEndpoint
from sidecar.listen.server import SidecarServer
from sidecar.model.errors import NotFound, StoresUnavailable
from sidecar.settings.schema import Root

# Our own endpoints: never the first to close a connection that the pool may be about to use.
_IN_PROCESS_KEEP_ALIVE_SECONDS: Final = 3600.0
# Kubernetes gives a probe one second by default.
_PROBE_SECONDS: Final = 0.5


@asynccontextmanager
async def own_endpoints(root: Root, deciding: Deciding) -> AsyncIterator[web.AppRunner]:
    """The application behind ``/_sidecar/``, set up as long as the context lasts."""

    async def end_session(tenant: str, session: str) -> bool:
        try:
            await deciding.sessions.revoke(tenant, session)
        except NotFound:
            return False
        return True

    issue = ticket_issuer(deciding.snapshot, deciding.tickets)
    tickets = TicketEndpoint(issue, root.credentials.websocket.ticket_parameter)
    runner = web.AppRunner(
        OwnEndpoints(end_session, cookie_of(root), [tickets.add_to]).application(),
        access_log=None,
        lingering_time=0,
        keepalive_timeout=_IN_PROCESS_KEEP_ALIVE_SECONDS,
        # Connections stay until their pool closes them; the pool goes first.
        shutdown_timeout=1.0,
    )
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


def cookie_of(root: Root) -> str:
    """The name of the cookie of sessions; ``""`` for none."""
    session = root.credentials.session
    return "" if session is None else session.cookie


def admin_api(root: Root, deciding: Deciding, audit: AuditSink | None) -> AdminApi | None:
    """The admin API, where there is a secret that opens it."""
    if root.admin.token is None:
        return None
    record = None if audit is None else audit.add
    return AdminApi(root.admin.token, deciding.pool, deciding.announcer, record)


async def unready(server: SidecarServer, deciding: Deciding) -> str:
    """What is missing before traffic should come; ``""`` for nothing.

    Without Redis there is no lease, and PostgreSQL answers: that is slower and no reason to leave.
    Were it one, all sidecars of a Redis would leave together.
    """
    if server.is_leaving or server.is_draining:
        return "draining"
    if not server.is_accepting:
        return f"starting, {warming}" if (warming := deciding.warming) else "starting"
    if instant() < deciding.memory.lease_until:
        return ""
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await deciding.pool.fetch("SELECT 1")
    except (StoresUnavailable, TimeoutError):
        return "neither a lease on memory nor PostgreSQL"
    return ""
