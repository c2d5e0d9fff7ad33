"""Operators ask one listener, which asks the workers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sidecar.endpoints.fleet import FleetEndpoints

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def echo(request: web.Request) -> web.Response:
    """What it was asked, and by the name of its socket."""
    body = (await request.read()).decode()
    text = f"{request.method} {request.raw_path} {request.headers.get('Authorization')} {body}"
    return web.Response(status=418, text=text, headers={"X-Told": "yes"})


async def ready(_: web.Request) -> web.Response:
    return web.Response(text="ready\n")


async def unready(_: web.Request) -> web.Response:
    return web.Response(status=503, text="not ready: starting\n")


async def broken(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def fleet(folder: Path, *workers: dict[str, Handler]) -> AsyncIterator[str]:
    """A fleet of such workers (handlers by path), and the URL of its listener."""
    async with AsyncExitStack() as stack:
        paths = {}
        for number, handlers in enumerate(workers):
            path = str(folder / f"{number}.sock")
            paths[str(number)] = path
            if not handlers:
                continue
            application = web.Application()
            for route, handler in handlers.items():
                application.router.add_route("*", route, handler)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.UnixSite(runner, path).start()
        runner = web.AppRunner(FleetEndpoints(paths, lambda: "own 1\n").application())
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"


async def get(url: str, **more: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request("POST" if more else "GET", url, headers=more, data="body") as answer,
    ):
        assert "X-Told" in answer.headers or answer.status != 418
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    ("workers", "outcome"),
    [
        ([{"/readyz": ready}, {"/readyz": ready}], (200, "ready\n")),
        ([{"/readyz": ready}, {"/readyz": unready}], (503, "not ready: worker 1: starting\n")),
        ([{}, {"/readyz": ready}], (503, "not ready: worker 0: no answer\n")),
        (
            [{}, {"/readyz": unready}],
            (503, "not ready: worker 0: no answer\nworker 1: starting\n"),
        ),
    ],
)
async def test_ready_when_all_are(
    workers: list[dict[str, Handler]], outcome: tuple[int, str], tmp_path: Path
) -> None:
    async with fleet(tmp_path, *workers) as url:
        assert await get(url + "/readyz") == outcome


async def test_healthy_while_one_answers(tmp_path: Path) -> None:
    async with fleet(tmp_path, {}, {"/healthz": ready}) as url:
        assert await get(url + "/healthz") == (200, "ok\n")
    async with fleet(tmp_path, {}, {"/healthz": broken}) as url:
        assert await get(url + "/healthz") == (503, "no worker answers\n")


async def test_metrics_of_those_who_answer(tmp_path: Path) -> None:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text="# HELP up Up.\n# TYPE up gauge\nup 1.0\n")

    async with fleet(tmp_path, {"/metrics": metrics}, {}) as url:
        status, text = await get(url + "/metrics")
        assert status == 200
        assert text == 'own 1\n# HELP up Up.\n# TYPE up gauge\nup{worker="0"} 1.0\n'


async def test_other_calls_go_to_one_who_can_be_reached(tmp_path: Path) -> None:
    async with fleet(tmp_path, {}, {"/admin/{rest:.*}": echo}) as url:
        answer = await get(url + "/admin/a%2Fb?c=d", Authorization="Bearer x")
        assert answer == (418, "POST /admin/a%2Fb?c=d Bearer x body")


async def test_a_call_is_never_made_twice(tmp_path: Path) -> None:
    async with fleet(tmp_path, {"/admin": broken}, {"/admin": echo}) as url:
        assert await get(url + "/admin", Authorization="x") == (502, "the worker broke off\n")
    async with fleet(tmp_path, {}, {}) as url:
        assert await get(url + "/admin", Authorization="x") == (503, "no worker answers\n")
