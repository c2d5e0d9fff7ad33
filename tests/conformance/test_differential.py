"""Beside a plain aiohttp proxy: valid requests mean the same behind both, and so do answers.

The oracle knows nothing of authorization: a server that sends on what it gets. Differences that
are meant (what we add, remove and refuse) are left out of the comparison; everything else must be
the same. Repeated fields and ISO 8859-1 are left out, too: aiohttp's client loses them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import pytest
from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

from tests.plane import RawClient, Response, ScriptedUpstream, read_request, request, running_plane

_HOP_BY_HOP: Final = frozenset(("connection", "transfer-encoding", "keep-alive", "host"))
# What only one of the two adds; none of it is the client's or the application's.
_ADDED: Final = frozenset(
    (
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "traceparent",
        "accept", "accept-encoding", "user-agent", "content-type", "server", "date",
    )
)  # fmt: skip


@contextlib.asynccontextmanager
async def oracle(url: str) -> AsyncIterator[int]:
    """A plain proxy before `url`; its port."""

    async def proxy(incoming: web.Request) -> web.StreamResponse:
        fields = [
            (name, value)
            for name, value in incoming.headers.items()
            if name.lower() not in _HOP_BY_HOP
        ]
        body = await incoming.read()
        async with session.request(
            incoming.method,
            URL(url + incoming.raw_path, encoded=True),
            headers=fields,
            data=body or None,
            allow_redirects=False,
        ) as answer:
            kept = [
                (name, value)
                for name, value in answer.headers.items()
                if name.lower() not in _HOP_BY_HOP | {"content-length"}
            ]
            payload = await answer.read()
            return web.Response(status=answer.status, headers=kept, body=payload)

    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{rest:.*}", proxy)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    connector = TCPConnector(limit=4)
    async with ClientSession(connector=connector, auto_decompress=False) as session:
        yield runner.addresses[0][1]
    await runner.cleanup()


def _fields(raw: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in raw.items()
        if name not in _HOP_BY_HOP | _ADDED | {"content-length"}
    }


REQUESTS: Final[dict[str, bytes]] = {
    "a GET": request("/a/b", "X: y", "Cookie: a=b; c=d"),
    "a query": request("/a?b=c&d=%20%2f&e=;"),
    "a slash at the end": request("/a/b/"),
    "an encoded space": request("/a%20b/%C3%A4"),
    "empty values": request("/", "X:", "Y:   "),
    "a body": request("/", "Content-Length: 5", method="POST", body=b"hello"),
    "an empty body": request("/", "Content-Length: 0", method="POST"),
    "chunks": request(
        "/",
        "Transfer-Encoding: chunked",
        method="PUT",
        body=b"5\r\nhello\r\n3;a=b\r\n!!!\r\n0\r\n\r\n",
    ),
    "a large body": request("/", "Content-Length: 300000", method="PATCH", body=b"x" * 300_000),
    "HEAD": request("/", method="HEAD"),
    "OPTIONS": request("/", method="OPTIONS"),
    "DELETE": request("/a", method="DELETE"),
}
ANSWERS: Final[dict[str, bytes]] = {
    "a length": b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello",
    "chunks": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "until the close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    "no body": b"HTTP/1.1 204 No Content\r\nETag: x\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: /b?c\r\nContent-Length: 0\r\n\r\n",
    "cookies": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0"
    b"\r\n\r\n",
    "an error": b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy",
    "compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
    b"\x1f\x8b\x08",
}


async def _ask(port: int, octets: bytes, method: str) -> Response:
    client = await RawClient.connect(port)
    try:
        await client.send(octets)
        return await client.response(method)
    finally:
        client.close()


Seen = list[tuple[bytes, dict[str, str], bytes]]


def _recording(seen: Seen, answer: bytes) -> ScriptedUpstream:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            start = head.partition(b"\r\n")[0]
            lines = head.decode("latin-1").split("\r\n")[1:-2]
            fields: dict[str, str] = {}
            for line in lines:
                name, _, value = line.partition(":")
                fields[name.lower()] = f"{fields.get(name.lower(), '')}|{value.strip()}"
            seen.append((start, _fields(fields), body))
            writer.write(
                answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                if start.startswith(b"HEAD")
                else answer
            )
            await writer.drain()
            if b"Connection: close" in answer:
                return

    return ScriptedUpstream(serve)


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests_mean_the_same_to_the_application(name: str) -> None:
    octets, seen = REQUESTS[name], Seen()
    async with (
        _recording(seen, ANSWERS["a length"]) as upstream,
        oracle(upstream.url) as port,
        running_plane(upstream.url) as plane,
    ):
        method = octets.split(b" ")[0].decode()
        theirs = await _ask(port, octets, method)
        ours = await _ask(plane.port, octets, method)
    assert seen[1] == seen[0]
    assert (ours.status, ours.body) == (theirs.status, theirs.body)


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_mean_the_same_to_the_client(name: str) -> None:
    seen = Seen()
    async with (
        _recording(seen, ANSWERS[name]) as upstream,
        oracle(upstream.url) as port,
        running_plane(upstream.url) as plane,
    ):
        theirs = await _ask(port, request("/"), "GET")
        ours = await _ask(plane.port, request("/"), "GET")
    assert (ours.status, ours.body) == (theirs.status, theirs.body)
    assert _fields(ours.fields) == _fields(theirs.fields)
