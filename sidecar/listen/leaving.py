"""The order of leaving: first nobody is sent here any more, then nobody is kept.

1. `/readyz` turns unready; everything is served as before, while load balancers notice.
2. Answers say `Connection: close`; connections are still accepted. Who kept a connection open
   comes back elsewhere.
3. The listener closes when its queue is empty, connections at rest end, what is in flight finishes.

Only then is a client that believes either of the signs never met by a connection that closes
under its request.
"""

import asyncio
from typing import Final

from sidecar.listen.server import SidecarServer

# The second step, at most: a connection in use carries a request in that time.
_LAST_CALL_SECONDS: Final = 1.0


async def leave(server: SidecarServer, delay_seconds: float) -> None:
    """Take the first two steps; nothing waits where there is no delay, or once it is hurried."""
    server.is_leaving = True
    await _pass(server, delay_seconds)
    server.forwarder.is_draining = True
    await _pass(server, min(delay_seconds, _LAST_CALL_SECONDS))


async def _pass(server: SidecarServer, seconds: float) -> None:
    if seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await server.hurry.wait()
    except TimeoutError:
        return
