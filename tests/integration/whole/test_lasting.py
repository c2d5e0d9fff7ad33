"""Responses that last longer than the permission they were begun with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.integration.whole.conftest import Start, Whole
from tests.integration.whole.test_admin_api import ADMIN, call

ROUTES = [
    {"path": "/stream", "access": "authenticated"},
    {"path": "/orders", "permission": "orders:read"},
    {"path": "/public", "access": "public"},
]


async def stream(request: web.Request) -> web.StreamResponse:
    """A line each few milliseconds; with ``?length`` as a download of a known size."""
    response = web.StreamResponse()
    if "length" in request.query:
        response.content_length = 10_000_000
    await response.prepare(request)
    while True:
        await response.write(b"data: tick\n\n")
        await asyncio.sleep(0.01)


@asynccontextmanager
async def streaming(start: Start) -> AsyncIterator[Whole]:
    app = web.Application()
    app.router.add_get("/{rest:.*}", stream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with start(upstreams={"app": {"url": url}}, routes=ROUTES, admin=ADMIN) as whole:
            yield whole
    finally:
        await runner.cleanup()


async def read_until_it_breaks(whole: Whole, path: str, who: str = "bob") -> int:
    """Lines that came; a clean end is a failure."""
    lines = 0
    fields = {"Authorization": f"Bearer {whole.tokens[who]}"} if who else {}
    with pytest.raises((aiohttp.ClientPayloadError, ConnectionError)):
        async with whole.session.get(whole.url + path, headers=fields) as answer:
            assert answer.status == 200
            async for _ in answer.content:
                lines += 1
        raise AssertionError("a clean end")
    return lines


async def lasting(whole: Whole, number: int) -> None:
    """Until so many are known to last."""
    async with asyncio.timeout(10):
        while await whole.metric("sidecar_lives") < number:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("path", ["/stream", "/stream?length", "/orders"])
async def test_they_are_broken_off_when_their_session_is_revoked(start: Start, path: str) -> None:
    async with streaming(start) as whole:
        bob = asyncio.create_task(read_until_it_breaks(whole, path))
        alice = asyncio.create_task(read_until_it_breaks(whole, path, "alice"))
        await lasting(whole, 2)
        await call(whole, "DELETE", "/users/bob/sessions")
        async with asyncio.timeout(5):
            assert await bob > 10
        assert not alice.done()
        ended = 'sidecar_responses_ended_total{reason="session-revoked"}'
        assert await whole.metric(ended) == 1
        await call(whole, "DELETE", "/users/alice/sessions")
        assert await alice > 10


async def test_what_was_revoked_in_the_first_moment_is_found_when_it_lasts(start: Start) -> None:
    async with streaming(start) as whole:
        bob = asyncio.create_task(read_until_it_breaks(whole, "/stream"))
        await asyncio.sleep(0)
        assert await whole.metric("sidecar_lives") == 0
        await call(whole, "DELETE", "/users/bob/roles/clerk")
        await call(whole, "DELETE", "/users/bob/sessions")
        async with asyncio.timeout(5):
            await bob


async def test_a_role_that_is_taken_ends_what_it_permitted_alone(start: Start) -> None:
    async with streaming(start) as whole:
        signed_in = asyncio.create_task(read_until_it_breaks(whole, "/stream"))
        permitted = asyncio.create_task(read_until_it_breaks(whole, "/orders"))
        await lasting(whole, 2)
        await call(whole, "DELETE", "/users/bob/roles/clerk")
        async with asyncio.timeout(5):
            await permitted
        assert not signed_in.done()
        assert await whole.metric('sidecar_responses_ended_total{reason="not-granted"}') == 1
        signed_in.cancel()
        await asyncio.gather(signed_in, return_exceptions=True)
