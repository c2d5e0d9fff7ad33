"""A bare proxy of aiohttp and uvloop: what every such process takes."""

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web


async def serve(upstream: str) -> None:
    """Passes GETs on; says its port, and goes on until its input ends."""
    async with aiohttp.ClientSession() as session:

        async def answer(request: web.Request) -> web.Response:
            async with session.get(upstream + request.path_qs) as reply:
                return web.Response(status=reply.status, body=await reply.read())

        application = web.Application()
        application.router.add_route("GET", "/{rest:.*}", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f'{{"traffic": "http://127.0.0.1:{runner.addresses[0][1]}"}}', flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
