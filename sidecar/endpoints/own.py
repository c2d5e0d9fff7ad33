"""Endpoints for clients, below ``/_sidecar/``: an upstream in this process.

They get requests only through the traffic listener, decided like any other, with our own identity
fields (`forward.in_process`). Mounted nowhere else: whoever could reach this application directly
could claim to be anybody.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from aiohttp import web

from sidecar.model.errors import StoresUnavailable
from sidecar.route.table import RESERVED

PREFIX: Final = RESERVED + "/"

# Ends the session with this public id, of this tenant; tells whether there was one.
EndSession = Callable[[str, str], Awaitable[bool]]


class OwnEndpoints:
    """The endpoints.

    Args:
        end_session: revokes a session.
        cookie: name of the session cookie, cleared on signing out; ``""`` for none.
        more: adds further endpoints.
    """

    def __init__(
        self,
        end_session: EndSession,
        cookie: str,
        more: Sequence[Callable[[web.Application], None]] = (),
    ) -> None:
        self._end_session = end_session
        self._cookie = cookie
        self._more = more

    def application(self) -> web.Application:
        """The application that serves them."""
        application = web.Application()
        application.router.add_get(PREFIX + "me", _me)
        application.router.add_post(PREFIX + "sign-out", self._sign_out)
        for add in self._more:
            add(application)
        return application

    async def _sign_out(self, request: web.Request) -> web.Response:
        """Revoke the session that was presented. A token is its issuer's to revoke."""
        if not is_same_origin(request):
            raise web.HTTPForbidden(text="signing out from another site is refused")
        session = unquote(request.headers["Sidecar-Session"])
        if not session:
            raise web.HTTPConflict(text="the credential is a token; sign out where it was issued")
        try:
            await self._end_session(unquote(request.headers["Sidecar-Tenant"]), session)
        except StoresUnavailable:
            # Not stored, so not revoked: never success (PROMISES 16).
            raise web.HTTPServiceUnavailable(text="not signed out: try again") from None
        answer = web.Response(status=204, headers={"Cache-Control": "no-store"})
        if self._cookie:
            answer.del_cookie(self._cookie, path="/")
        return answer


async def _me(request: web.Request) -> web.Response:
    """Who we take the caller for."""
    roles = request.headers["Sidecar-Roles"]
    expires = float(request.headers["Sidecar-Expires"])
    return web.json_response(
        {
            "tenant": unquote(request.headers["Sidecar-Tenant"]),
            "subject": unquote(request.headers["Sidecar-Subject"]),
            "roles": [unquote(role) for role in roles.split(",")] if roles else [],
            "credential": request.headers["Sidecar-Credential"],
            "expires_at": expires if math.isfinite(expires) else None,
        },
        headers={"Cache-Control": "no-store"},
    )


def is_same_origin(request: web.Request) -> bool:
    """Whether no other site made the browser send this (OWASP CSRF cheat sheet: fetch metadata).

    Programs that are no browsers send neither field, and no cookie by themselves either.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("Host")
