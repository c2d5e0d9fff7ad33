"""The baseline: what is quickly written with aiohttp alone.

An aiohttp server passes requests on with `ClientSession`; a token is verified with joserfc once
and remembered in a dict together with what its user may do. No access log, uvloop.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import hdrs, web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from multidict import CIMultiDict

from perf.machine import free_port
from perf.peers.peer import Guard, Peer, Site, running, wait_until_answers
from perf.workload import AUDIENCE, ISSUER, OUTSIDER, PATH, PERMISSION

NAME = "aiohttp"
_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
_NOT_FORWARDED = _HOP_BY_HOP | {"authorization", "content-length", "x-auth-user"}
_CLAIMS = jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
)


@dataclass(frozen=True, slots=True)
class Known:
    """A token that was verified."""

    subject: str
    expires_at: float
    permissions: frozenset[str]


class Proxy:
    """The one route of the application."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str, keys: KeySet) -> None:
        self._session = session
        self._upstream = upstream
        self._keys = keys
        self._known: dict[str, Known] = {}

    async def answer(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        known = self._verified(token) if scheme.lower() == "bearer" else None
        if known is None:
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        if request.path != PATH or PERMISSION not in known.permissions:
            return web.Response(status=403)
        fields = CIMultiDict(
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in _NOT_FORWARDED
        )
        fields["X-Auth-User"] = known.subject
        fields["X-Forwarded-For"] = request.remote or ""
        body = await request.read() if request.can_read_body else None
        async with self._session.request(
            request.method,
            self._upstream + request.path_qs,
            headers=fields,
            data=body,
            allow_redirects=False,
        ) as reply:
            content = await reply.read()
            kept = CIMultiDict(
                (name, value)
                for name, value in reply.headers.items()
                if name.lower() not in _HOP_BY_HOP
            )
            return web.Response(status=reply.status, headers=kept, body=content)

    def _verified(self, token: str) -> Known | None:
        known = self._known.get(token)
        if known is None:
            try:
                claims = jwt.decode(token, self._keys, algorithms=["RS256"]).claims
                _CLAIMS.validate(claims)
            except (JoseError, ValueError):
                return None
            subject = str(claims["sub"])
            allowed = frozenset() if subject == OUTSIDER else frozenset({PERMISSION})
            known = self._known[token] = Known(subject, float(claims["exp"]), allowed)
        return known if known.expires_at > time.time() else None


async def serve(port: int, upstream: int, keys: KeySet) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
    ) as session:
        proxy = Proxy(session, f"http://127.0.0.1:{upstream}", keys)
        application = web.Application()
        application.router.add_route(hdrs.METH_ANY, "/{rest:.*}", proxy.answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


@contextmanager
def started(site: Site) -> Iterator[Peer]:
    """The baseline before the upstream."""
    port, log = free_port(), site.folder / "aiohttp.out"
    command = [sys.executable, "-m", "perf.peers.aiohttp_proxy"]
    command += ["--jwks", str(site.workload.jwks)]
    command += ["--port", str(port), "--upstream", str(site.upstream)]
    with running(command, log) as child:
        wait_until_answers(child, port, PATH, log)
        yield Peer(NAME, aiohttp.__version__, port, child.pid, Guard.AUTHORIZES)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--jwks", type=Path, required=True)
    given = parser.parse_args()
    keys = KeySet.import_key_set(json.loads(given.jwks.read_text()))
    uvloop.run(serve(given.port, given.upstream, keys))


if __name__ == "__main__":
    main()
