"""``POST /_sidecar/tickets``: a one-time ticket for a WebSocket handshake.

For pages that can neither set fields nor send the cookie there, and for those that want to say that
they mean it. The page gets one with a request of its own, and appends it to the URL.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from sidecar.endpoints.own import PREFIX, is_same_origin
from sidecar.model.errors import StoresUnavailable

_LONGEST_BODY: Final = 10_000

# The fields of the request, and the path that is asked for -> the ticket and for how many seconds
# it is good; or, in words, why there is none.
IssueTicket = Callable[[web.Request, str], Awaitable[tuple[str, float] | str]]


class TicketRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body.

    Attributes:
        path: of the WebSocket, without a query.
    """

    path: str


class TicketEndpoint:
    """The endpoint.

    Args:
        issue: issues tickets.
        parameter: of the query, under which handshakes show them.
    """

    def __init__(self, issue: IssueTicket, parameter: str) -> None:
        self._issue = issue
        self._parameter = parameter

    def add_to(self, application: web.Application) -> None:
        """Serve it as a part of `application`."""
        application.router.add_post(PREFIX + "tickets", self._post)

    async def _post(self, request: web.Request) -> web.Response:
        if not is_same_origin(request):
            raise web.HTTPForbidden(text="a page of another site gets no ticket")
        body = await request.content.read(_LONGEST_BODY)
        try:
            asked = msgspec.json.decode(body, type=TicketRequest)
        except msgspec.DecodeError as wrong:
            raise web.HTTPBadRequest(text=f'the body is not {{"path": ...}}: {wrong}') from None
        try:
            issued = await self._issue(request, asked.path)
        except StoresUnavailable:
            raise web.HTTPServiceUnavailable(text="no tickets now: try again") from None
        if isinstance(issued, str):
            raise web.HTTPConflict(text=issued)
        ticket, seconds = issued
        answer: dict[str, Any] = {
            "ticket": ticket, "parameter": self._parameter, "expires_in": seconds,
        }  # fmt: skip
        return web.json_response(answer, status=201, headers={"Cache-Control": "no-store"})
