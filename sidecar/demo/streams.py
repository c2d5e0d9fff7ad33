"""What is long or large: an event stream, an upload, a download. And an echo of the head."""

import asyncio
import hashlib
import json
import re
from datetime import UTC, datetime

from aiohttp import web

# Memory stays flat whatever the size: this much is in flight.
BLOCK_BYTES = 65_536
# Up to 100 GB.
SIZE = re.compile(r"[0-9]{1,11}")
_BLOCK = bytes(range(256)) * (BLOCK_BYTES // 256)

# Set when the application stops: event streams end then.
STOPPING = web.AppKey("stopping", asyncio.Event)
EVENT_SECONDS = web.AppKey("event_seconds", float)
routes = web.RouteTableDef()


@routes.get("/events")
async def events(request: web.Request) -> web.StreamResponse:
    """Counts, one event each `EVENT_SECONDS`, until the client leaves or the application stops."""
    stream = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    await stream.prepare(request)
    stopping, number = request.app[STOPPING], 0
    while not stopping.is_set():
        number += 1
        told = json.dumps({"number": number, "time": datetime.now(UTC).isoformat()})
        try:
            await stream.write(f"id: {number}\nevent: tick\ndata: {told}\n\n".encode())
        except ConnectionError:
            break
        await _wait(stopping, request.app[EVENT_SECONDS])
    return stream


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


@routes.post("/upload")
async def upload(request: web.Request) -> web.Response:
    """Counts and digests the body without keeping it: ``{"bytes": n, "sha256": hex}``."""
    count, digest = 0, hashlib.sha256()
    async for block in request.content.iter_chunked(BLOCK_BYTES):
        count += len(block)
        digest.update(block)
    return web.json_response({"bytes": count, "sha256": digest.hexdigest()})


@routes.get("/download")
async def download(request: web.Request) -> web.StreamResponse:
    """``?bytes=N`` bytes: 0, 1, ... 255, 0, 1 and so on, so that a shift would be seen."""
    wanted = request.query.get("bytes", "0")
    if not SIZE.fullmatch(wanted):
        return web.json_response({"error": "bytes is a number of at most 11 digits"}, status=400)
    left = int(wanted)
    stream = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    stream.content_length = left
    await stream.prepare(request)
    while left and request.method != "HEAD":
        block = _BLOCK[:left]
        await stream.write(block)
        left -= len(block)
    return stream


@routes.get("/echo")
async def echo(request: web.Request) -> web.Response:
    """The head as it arrived: ``{"method", "target", "fields": [[name, value], ...]}``."""
    fields = [
        [name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers
    ]
    return web.json_response(
        {"method": request.method, "target": request.raw_path, "fields": fields}
    )
