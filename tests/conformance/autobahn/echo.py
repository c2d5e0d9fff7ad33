"""``python -m tests.conformance.autobahn.echo PORT``: says back each message that it gets.

aiohttp, because it is another implementation than ours, and is there anyway. Text comes back as
text; compression is agreed on where it is offered.
"""

import sys

from aiohttp import WSMsgType, web


async def _echo(request: web.Request) -> web.WebSocketResponse:
    # No limit of its own: cases have messages of 16 MiB.
    response = web.WebSocketResponse(compress=True, max_msg_size=0)
    await response.prepare(request)
    async for message in response:
        if message.type is WSMsgType.TEXT:
            await response.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await response.send_bytes(message.data)
    return response


async def _ready(_request: web.Request) -> web.Response:
    return web.Response(text="ready")


def application() -> web.Application:
    """Echoes on every path but ``/ready``."""
    made = web.Application()
    made.router.add_get("/ready", _ready)
    made.router.add_get("/{rest:.*}", _echo)
    return made


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
