"""Endpoints for clients, below ``/_sidecar/``: an upstream in this process.

They get requests only through the traffic listener, decided like any other, with our own identity
fields (`forward.in_process`). Mounted nowhere else: whoever could reach this application directly
could claim to be anybody.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote, urlsplit

from aiohttp import web

PREFIX: Final = "/_sidecar/"

# Ends the session with this public id, of this tenant.
EndSession = Callable[[str, str], Awaitable[bool]]
_END_SESSION: Final = web.AppKey("end_session", EndSession)
_COOKIE: Final = web.AppKey("cookie", str)


def own_application(end_session: EndSession, cookie: str) -> web.Application:
    """The application.

    Args:
        end_session: revokes a session by tenant and public id; tells whether there was one.
        cookie: name of the session cookie, cleared on signing out; ``""`` for none.
    """
    application = web.Application()
    application[_END_SESSION] = end_session
    application[_COOKIE] = cookie
    application.router.add_get(PREFIX + "me", _me)
    application.router.add_post(PREFIX + "sign-out", _sign_out)
    return application


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


async def _sign_out(request: web.Request) -> web.Response:
    """Revoke the session that was presented. A token is its issuer's to revoke."""
    if not _is_same_origin(request):
        raise web.HTTPForbidden(text="signing out from another site is refused")
    session = unquote(request.headers["Sidecar-Session"])
    if not session:
        raise web.HTTPConflict(text="the credential is a token; sign out where it was issued")
    await request.app[_END_SESSION](unquote(request.headers["Sidecar-Tenant"]), session)
    answer = web.Response(status=204, headers={"Cache-Control": "no-store"})
    if request.app[_COOKIE]:
        answer.del_cookie(request.app[_COOKIE], path="/")
    return answer


def _is_same_origin(request: web.Request) -> bool:
    """Whether no other site made the browser send this (OWASP CSRF cheat sheet: fetch metadata).

    Programs that are no browsers send neither field, and no cookie by themselves either.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("Host")
