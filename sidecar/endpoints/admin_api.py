"""Changes for automation that cannot run `sidecar admin`: the admin API (docs/admin-api.md).

It exists where `admin.token` is set, on the admin listener only. Each answer says how far the
change has come: success (200) only when that is as far as was asked, 202 when it is stored but
less is certain, 503 when nothing is known to be stored (PROMISES 16).
"""

import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from sidecar.audit.administration import Administration
from sidecar.clock import stopwatch, wall
from sidecar.endpoints.admin_changes import OPERATIONS, Acknowledge, Call, Operation
from sidecar.endpoints.admin_reading import Guard, Refusal, read_body, read_query
from sidecar.endpoints.admin_refusals import Refusals
from sidecar.endpoints.admin_refusals import Refused as RefusedCalls
from sidecar.model.change import Level
from sidecar.model.errors import Invalid, NotFound, Refused, StoresUnavailable
from sidecar.store.pool import Pool
from sidecar.sync.announce import Announcer, Wanted

_LOG: Final = logging.getLogger(__name__)
PREFIX: Final = "/admin/v1"
_WHO: Final = "admin-api"
_ID: Final = web.RequestKey("id", str)
# What a store says -> status and code.
_REFUSALS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (NotFound, 404, "not-found"),
    (Refused, 409, "refused"),
    (Invalid, 422, "invalid"),
)
_LONGEST_ASKED: Final = 200
_NOT_STORED: Final = "nothing is known to have been stored: repeat the call, it is safe"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Reply(NamedTuple):
    """An answer before it is written: status, code (a level or an error's), JSON, fields."""

    status: int
    code: str
    value: dict[str, Any]
    fields: dict[str, str]


class AdminApi:
    """The API.

    Args:
        token: whoever presents it may do everything here.
        pool: PostgreSQL.
        announcer: publishes and waits.
        audit: keeps records; None where audit is off.

    Attributes:
        outcomes: calls by the level they reached or the code of their error.
    """

    def __init__(
        self,
        token: str,
        pool: Pool,
        announcer: Announcer,
        audit: Callable[[Administration], None] | None,
    ) -> None:
        self._guard = Guard(token)
        self._pool = pool
        self._announcer = announcer
        self._audit = audit
        self._refusals = Refusals(self._tell_refused)
        self.outcomes: Counter[str] = Counter()

    def application(self) -> web.Application:
        """The application that serves it, below `PREFIX`."""

        @web.middleware
        async def around(request: web.Request, handler: _Handler) -> web.StreamResponse:
            return await self._around(request, handler)

        application = web.Application(middlewares=[around])
        for operation in OPERATIONS:
            perform = partial(self._perform, operation)
            application.router.add_route(operation.method, operation.path, perform)
        return application

    async def _around(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Guards every path below the prefix, also those that do not exist."""
        request[_ID] = secrets.token_hex(16)
        begun = stopwatch()
        try:
            self._guard.check(request)
            return await handler(request)
        except Refusal as refusal:
            if refusal.status in {401, 403}:
                self._count_refused(request, refusal, stopwatch() - begun)
            reply = _refusal(refusal)
        except web.HTTPException as error:
            # Of aiohttp: no such path, no such method.
            code = {404: "not-found", 405: "no-such-method"}
            reply = _refusal(
                Refusal(error.status, code.get(error.status, "malformed"), error.reason),
                {name: error.headers[name] for name in ("Allow",) if name in error.headers},
            )
        return self._answer(request, reply)

    def _answer(self, request: web.Request, reply: Reply) -> web.Response:
        self.outcomes[reply.code] += 1
        fields = {**reply.fields, "Cache-Control": "no-store", "X-Request-Id": request[_ID]}
        return web.json_response(
            body=msgspec.json.encode(reply.value), status=reply.status, headers=fields
        )

    async def _perform(self, operation: Operation, request: web.Request) -> web.Response:
        """One operation, and the record of what came of it."""
        begun = stopwatch()
        asked: dict[str, Any] = {}
        reply: Reply | None = None
        try:
            query = read_query(request.query, operation.query)
            asked |= msgspec.to_builtins(query)
            body = await read_body(request, operation.body)
            asked |= {} if body is None else msgspec.to_builtins(body)
            reply = await self._change(
                operation, Call(self._pool, dict(request.match_info), body, query)
            )
        except Refusal as refusal:
            reply = _refusal(refusal)
        except Exception:  # noqa: BLE001  a bug: the caller learns that nothing is certain
            _LOG.exception("admin call %s broke off", request[_ID])
            reply = _refusal(Refusal(500, "internal-error", "an error of ours; see the log"))
        finally:
            self._record(operation, request, asked, reply, stopwatch() - begun)
        return self._answer(request, reply)

    async def _change(self, operation: Operation, call: Call) -> Reply:
        try:
            done = await operation.run(call)
        except StoresUnavailable:
            return _refusal(Refusal(503, "not-stored", _NOT_STORED), {"Retry-After": "1"})
        except (NotFound, Refused, Invalid) as error:
            status, code = next(
                (status, code) for kind, status, code in _REFUSALS if isinstance(error, kind)
            )
            raise Refusal(status, code, str(error)) from None
        query: Acknowledge = call.query
        wanted = Wanted(query.ack, query.ack_seconds)
        came = await self._announcer.announce(call.names["tenant"], done.changes, wanted)
        levels = list(Level)
        status = 200 if levels.index(came.level) >= levels.index(query.ack) else 202
        value = {**call.names, **done.value, "changed": bool(done.changes), **came._asdict()}
        return Reply(status, came.level, value, {})

    def _record(
        self,
        operation: Operation,
        request: web.Request,
        asked: dict[str, Any],
        reply: Reply | None,
        seconds: float,
    ) -> None:
        if self._audit is None:
            return
        status = 0 if reply is None else reply.status
        done = 200 <= status < 300
        self._audit(
            Administration(
                time=wall(),
                request_id=request[_ID],
                who=_WHO,
                what=operation.name,
                outcome="permit" if done else "deny" if 400 <= status < 500 else "fault",
                reason="broken-off" if reply is None else reply.code,
                status=status,
                client=request.remote or "unix",
                milliseconds=round(seconds * 1000, 3),
                target=dict(request.match_info),
                asked=asked,
            )
        )

    def _count_refused(self, request: web.Request, refusal: Refusal, seconds: float) -> None:
        self._refusals.add(
            RefusedCalls(
                client=request.remote or "unix",
                calls=1,
                request_id=request[_ID],
                status=refusal.status,
                code=refusal.code,
                milliseconds=round(seconds * 1000, 3),
                # As it came, escapes and all, and bounded: nobody has vouched for it.
                asked=f"{request.method} {request.rel_url.raw_path}"[:_LONGEST_ASKED],
            )
        )

    def _tell_refused(self, refused: RefusedCalls) -> None:
        """Calls without the token: in the log and, as one record, in the audit."""
        _LOG.warning(
            "admin API: %d call(s) from %s refused, the last one: %s",
            refused.calls,
            refused.client,
            refused.code,
        )
        if self._audit is None:
            return
        self._audit(
            Administration(
                time=wall(),
                request_id=refused.request_id,
                who=_WHO,
                what="refused",
                outcome="deny",
                reason=refused.code,
                status=refused.status,
                client=refused.client,
                milliseconds=refused.milliseconds,
                target={},
                asked={"call": refused.asked, "calls": refused.calls},
            )
        )


def _refusal(refusal: Refusal, fields: dict[str, str] | None = None) -> Reply:
    value = {"error": refusal.code, "message": refusal.message}
    if refusal.field:
        value["field"] = refusal.field
    challenge = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
    return Reply(refusal.status, refusal.code, value, {**challenge, **(fields or {})})
