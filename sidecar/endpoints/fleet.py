"""The admin listener of several workers: asks all of them, each at its own unix socket."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from sidecar.endpoints.admin_reading import LARGEST_BYTES
from sidecar.endpoints.exposition import merge

# Kubernetes gives a probe one second by default.
_ASK_SECONDS: Final = 0.8
_CALL_SECONDS: Final = 30.0
_EXPOSITION: Final = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
# Of one connection (RFC 9110 section 7.6.1), or written anew.
_NOT_PASSED: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length", "host"}
)
# Counts of the processes themselves, as lines of an exposition.
Own = Callable[[], str]


class FleetEndpoints:
    """The endpoints.

    Args:
        workers: path of the unix socket by name of the worker.
        own: what is counted beside the workers.
    """

    def __init__(self, workers: Mapping[str, str], own: Own) -> None:
        self._workers = dict(workers)
        self._own = own
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def application(self) -> web.Application:
        """The application that serves them."""
        application = web.Application(client_max_size=LARGEST_BYTES)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_route("*", "/{rest:.*}", self._pass_on)
        application.cleanup_ctx.append(self._open)
        return application

    async def _open(self, _: web.Application):  # type: ignore[no-untyped-def]  # noqa: ANN202 - aiohttp's generator
        for name, path in self._workers.items():
            self._sessions[name] = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path), auto_decompress=False
            )
        yield
        for session in self._sessions.values():
            await session.close()

    async def _ask_all(self, path: str) -> dict[str, tuple[int, str]]:
        """Status and text of each worker's answer; status 0 from those who give none."""
        answers = await asyncio.gather(*(self._ask(name, path) for name in self._workers))
        return dict(zip(self._workers, answers, strict=True))

    async def _ask(self, name: str, path: str) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
        try:
            async with self._sessions[name].get("http://worker" + path, timeout=timeout) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, "no answer\n"

    async def _healthz(self, _request: web.Request) -> web.Response:
        """One worker's loop turns: the others are the supervisor's to start again."""
        answers = await self._ask_all("/healthz")
        if any(status == 200 for status, _ in answers.values()):
            return web.Response(text="ok\n")
        return web.Response(status=503, text="no worker answers\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        """All workers are: those who are not would take their share of connections."""
        answers = await self._ask_all("/readyz")
        missing = [
            f"worker {name}: {text.removeprefix('not ready: ')}"
            for name, (status, text) in answers.items()
            if status != 200
        ]
        if missing:
            return web.Response(status=503, text="not ready: " + "".join(missing))
        return web.Response(text="ready\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        answers = await self._ask_all("/metrics")
        told = {name: text for name, (status, text) in answers.items() if status == 200}
        return web.Response(text=self._own() + merge(told), headers=_EXPOSITION)

    async def _pass_on(self, request: web.Request) -> web.Response:
        """Anything else is answered by whichever worker does: they share the stores."""
        body = await request.read()
        fields = _passed(request.headers)
        for session in self._sessions.values():
            try:
                async with session.request(
                    request.method,
                    # As it came: a subject may hold an encoded slash.
                    URL("http://worker" + request.raw_path, encoded=True),
                    headers=fields,
                    data=body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS),
                ) as answer:
                    content = await answer.read()
                    return web.Response(
                        status=answer.status, body=content, headers=_passed(answer.headers)
                    )
            except aiohttp.ClientConnectorError:
                # Not even connected: it has not seen the call.
                continue
            except (aiohttp.ClientError, TimeoutError):
                return web.Response(status=502, text="the worker broke off\n")
        return web.Response(status=503, text="no worker answers\n")


def _passed(fields: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(
        (name, value) for name, value in fields.items() if name.lower() not in _NOT_PASSED
    )
