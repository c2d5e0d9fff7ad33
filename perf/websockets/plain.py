"""The baseline: what is quickly written with aiohttp alone, a WebSocket on either side."""

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import WSMsgType, web


def _application(upstream: int) -> web.Application:
    async def opened(app: web.Application) -> None:
        # By default it makes no more than 100 connections.
        app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def relay(request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(compress=False)
        await client.prepare(request)
        url = f"http://127.0.0.1:{upstream}{request.path}"
        async with request.app["session"].ws_connect(url) as server:

            async def pump(
                source: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
                sink: aiohttp.ClientWebSocketResponse | web.WebSocketResponse,
            ) -> None:
                async for message in source:
                    if message.type is WSMsgType.TEXT:
                        await sink.send_str(message.data)
                    elif message.type is WSMsgType.BINARY:
                        await sink.send_bytes(message.data)
                await sink.close()

            await asyncio.gather(pump(client, server), pump(server, client))
        return client

    async def ready(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.on_startup.append(opened)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/{rest:.*}", relay)
    return app


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    web.run_app(
        _application(int(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=lambda *_: None,
    )
