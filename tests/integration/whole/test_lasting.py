"""Responses that last longer than the permission they were begun with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.integration.whole.conftest import Start, Whole
from tests.integration.whole.test_admin_api import ADMIN, call
from tests.plane import OK, RawClient, ScriptedUpstream, request

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


class Slow:
    """An upstream that answers when `gate` is set, and remembers what it was sent."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.octets = b""
        self.left = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while octets := await reader.read(65_536):
                self.octets += octets
                if self.gate.is_set():
                    writer.write(OK)
        finally:
            self.left += 1


async def test_what_is_not_answered_yet_is_refused_and_no_upload_goes_on(start: Start) -> None:
    """A long poll and an upload of bob's, while his sessions are revoked."""
    slow = Slow()
    async with (
        ScriptedUpstream(slow) as upstream,
        start(upstreams={"app": {"url": upstream.url}}, routes=ROUTES, admin=ADMIN) as whole,
    ):
        port = int(whole.url.rpartition(":")[2])
        poll, upload = await RawClient.connect(port), await RawClient.connect(port)
        who = f"Authorization: Bearer {whole.tokens['bob']}"
        await poll.send(request("/stream", who))
        chunked = "Transfer-Encoding: chunked"
        await upload.send(request("/stream", who, chunked, method="POST", body=b"3\r\none\r\n"))
        await lasting(whole, 2)
        await upload.send(b"3\r\ntwo\r\n")
        status, told = await call(whole, "DELETE", "/users/bob/sessions?ack=applied&ack_seconds=20")
        assert (status, told["level"]) == (200, "applied")
        with contextlib.suppress(ConnectionError):
            await upload.send(b"4\r\nlate\r\n")
        assert (await poll.response()).status == 401
        assert (await upload.response()).status == 401
        async with asyncio.timeout(5):
            while slow.left < 2:
                await asyncio.sleep(0.01)
        assert b"two" in slow.octets
        assert b"late" not in slow.octets
        ended = 'sidecar_responses_ended_total{reason="session-revoked"}'
        assert await whole.metric(ended) == 2
        poll.close()
        upload.close()
