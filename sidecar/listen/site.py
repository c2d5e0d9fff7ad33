"""Our own accepting as a site of aiohttp's runner, which knows the order of ending."""

import socket
from collections.abc import Sequence

from aiohttp import web

from sidecar.listen.acceptor import Acceptor
from sidecar.listen.server import SidecarServer


class AcceptingSite(web.BaseSite):
    """Accepts for a `SidecarServer`.

    Args:
        runner: the server's; set up.
        server: told when clients can connect and when no more will.
        acceptor: accepts.
        listeners: where from.
    """

    __slots__ = ("_accepting", "_listeners", "_sidecar")

    def __init__(
        self,
        runner: web.BaseRunner,
        server: SidecarServer,
        acceptor: Acceptor,
        listeners: Sequence[socket.socket],
    ) -> None:
        super().__init__(runner)
        self._listeners = listeners
        self._sidecar = server
        self._accepting = acceptor

    @property
    def name(self) -> str:
        """aiohttp: what is shown of it."""
        return "clients"

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        self._accepting.start(self._listeners)
        self._sidecar.is_accepting = True

    async def stop(self) -> None:
        """Answers say from now on that they are the last; those in the queue get one."""
        self._sidecar.forwarder.is_draining = True
        await self._accepting.stop()
        await super().stop()
