"""Tickets, wired: who asks for one, and what for."""

from aiohttp import web

from sidecar.decide import Snapshot
from sidecar.endpoints.tickets import IssueTicket
from sidecar.model.decision import Denial
from sidecar.model.head import RequestHead
from sidecar.model.need import SessionNeed
from sidecar.parse.host import read_authority
from sidecar.parse.target import read_target
from sidecar.sync.tickets import Tickets


def ticket_issuer(snapshot: Snapshot, tickets: Tickets) -> IssueTicket:
    """What issues tickets for requests that were decided and came to our own endpoint."""

    async def issue(request: web.Request, path: str) -> tuple[str, float] | str:
        head = _credential_of(request)
        session = snapshot.credentials.find(head)
        if not isinstance(session, SessionNeed):
            return "a ticket stands for a session; a token can be shown as a subprotocol"
        target = read_target(path.encode("latin-1", "replace"))
        if isinstance(target, Denial) or b"?" in target.target or target.authority is not None:
            return "not a path"
        match = snapshot.routes.match(head.host, "GET", target.path)
        if isinstance(match, Denial) or match.route.websocket is None:
            return "no WebSockets there"
        origin = request.headers.get("Origin", "")
        issued = await tickets.issue(session, head.host, target.path, origin)
        return issued.ticket, issued.seconds

    return issue


def _credential_of(request: web.Request) -> RequestHead:
    """The request's credential as it came to us; it was accepted already."""
    head = RequestHead()
    head.upgrade = None
    head.set_fields(request.raw_headers)
    authority = read_authority(head.value(b"host") or b"")
    head.host = "" if authority is None else authority[0]
    return head
