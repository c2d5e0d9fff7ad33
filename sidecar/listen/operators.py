"""Connections of operators to an aiohttp application: few, and none without a deadline.

Whoever reaches the admin listener needs no token to hold connections, and each takes a descriptor
that clients, upstreams and stores may need.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from aiohttp import web

from sidecar.settings.address import TcpAddress, UnixAddress

# From accepting, or from an answer, to the end of the next head; aiohttp has one timer for both.
# More than the 15 s for which aiohttp's client, our companion's, keeps an idle connection.
IDLE_SECONDS: Final = 20.0
# A call may wait for confirmations much longer than an end may take.
_SHUTDOWN_SECONDS: Final = 1.0
_BACKLOG: Final = 16

Where = TcpAddress | UnixAddress | socket.socket


def runner_of(application: web.Application) -> web.AppRunner:
    """Runs `application` for operators; not set up."""
    return web.AppRunner(
        application,
        access_log=None,
        # Nobody needs it here; and what it cannot unpack ends in a traceback.
        auto_decompress=False,
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )


class OperatorSite(web.BaseSite):
    """Accepts operators; where there are too many, the one that came first has to go.

    So who fills all places with connections that ask nothing keeps nobody out: a probe is answered
    long before its turn comes.

    Args:
        runner: set up.
        where: to listen at; a socket stays the caller's to close.
        most: connections at a time.
    """

    __slots__ = ("_most", "_where")

    def __init__(self, runner: web.BaseRunner, where: Where, most: int) -> None:
        super().__init__(runner, backlog=_BACKLOG)
        self._where = where
        self._most = most

    @property
    def name(self) -> str:
        """aiohttp: what is shown of it."""
        return "operators"

    async def start(self) -> None:
        """Begin to accept.

        Raises:
            OSError: nothing can listen there.
        """
        await super().start()
        server = self._runner.server
        if server is None:  # unreachable: the runner is set up
            raise AssertionError("the runner is not running")
        loop = asyncio.get_running_loop()
        admit = _admitting(server, self._most)
        where = self._where
        if isinstance(where, TcpAddress):
            self._server = await loop.create_server(admit, where.host, where.port, backlog=_BACKLOG)
        elif isinstance(where, socket.socket):
            self._server = await loop.create_server(admit, sock=where, backlog=_BACKLOG)
        else:
            self._server = await loop.create_unix_server(admit, where.path, backlog=_BACKLOG)


def _admitting(server: web.Server, most: int) -> Callable[[], asyncio.Protocol]:
    def admit() -> asyncio.Protocol:
        # In the order in which they came.
        transports = [each.transport for each in server.connections]
        present = [each for each in transports if each is not None and not each.is_closing()]
        for each in present[: max(0, len(present) + 1 - most)]:
            # Not `close`: it would wait for whoever does not read.
            each.abort()
        return server()

    return admit
