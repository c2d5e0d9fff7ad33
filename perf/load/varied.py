"""An upstream with answers of several kinds (small, absent, created, large), and WebSockets."""

import asyncio
import json

import uvloop
from aiohttp import WSMsgType, web

from perf.workload import BODY, PATH

# Where WebSockets are.
FEED = "/feed"
CHUNK, CHUNKS = b"0123456789abcdef" * 256, 32


async def listed(request: web.Request) -> web.StreamResponse:
    """All orders; with ``?export`` as many as fill 128 KiB, in chunks."""
    if "export" not in request.query:
        return web.Response(body=BODY, content_type="application/json")
    answer = web.StreamResponse()
    answer.enable_chunked_encoding()
    await answer.prepare(request)
    for _ in range(CHUNKS):
        await answer.write(CHUNK)
    await answer.write_eof()
    return answer


async def created(request: web.Request) -> web.Response:
    """Says how much came."""
    body = await request.read()
    return web.json_response({"bytes": len(body)}, status=201)


async def one(request: web.Request) -> web.Response:
    """Orders have even numbers."""
    number = int(request.match_info["order"])
    if number % 2:
        return web.json_response({"title": "no such order"}, status=404)
    return web.json_response({"id": number})


async def talked(request: web.Request) -> web.WebSocketResponse:
    """Sends back what comes."""
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def serve() -> None:
    application = web.Application(client_max_size=1 << 20)
    application.router.add_get(PATH, listed)
    application.router.add_post(PATH, created)
    application.router.add_get(PATH + "/{order:[0-9]+}", one)
    application.router.add_get(FEED, talked)
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=75.0)
    await runner.setup()
    # As many as there are users: where the kernel's queue is full, a connection takes a second.
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    # One address, one port.
    print(json.dumps(runner.addresses[0][1]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
