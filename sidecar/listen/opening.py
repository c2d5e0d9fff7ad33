"""From an accepted socket to a connection that can be read: PROXY header, then TLS.

Until both are done there is no protocol object, so their deadline is kept here.
"""

import asyncio
import socket
import ssl
from collections import Counter
from typing import Any, Final

from sidecar.forward.tls import TlsFiles
from sidecar.forward.tls_transport import accept_tls
from sidecar.listen.downstream import Downstream
from sidecar.listen.server import SidecarServer
from sidecar.listen.trust import TrustedPeers, plain_address
from sidecar.parse.proxy_protocol import (
    LONGEST_HEADER,
    Origin,
    ProxyMalformedError,
    measure,
    parse,
)


class Opening:
    """Opens connections.

    Args:
        server: makes their protocols and gives them places.
        tls: the files of TLS; None for plain connections.
        proxies: who sends PROXY headers; None where nobody does.

    Attributes:
        failed: connections that ended before a request could be read, by cause.
    """

    def __init__(
        self,
        server: SidecarServer,
        *,
        tls: TlsFiles | None = None,
        proxies: TrustedPeers | None = None,
    ) -> None:
        self.failed: Final[Counter[str]] = Counter()
        self._server = server
        self._tls = tls
        self._proxies = proxies

    async def open(self, sock: socket.socket, peer: Any) -> None:
        """Open the connection of `sock`, or close it.

        Args:
            sock: as accepted; not blocking.
            peer: the address it was accepted from.
        """
        if self._tls is None and self._proxies is None:
            # Made in the next turn of the loop, and only then counted: most that were reset while
            # in the queue never take a place.
            await asyncio.get_running_loop().connect_accepted_socket(self._server, sock)
            return
        downstream = self._server.expect()
        is_open = False
        try:
            async with asyncio.timeout(self._server.deadlines.handshake_seconds):
                if self._proxies is not None:
                    downstream.origin = await self._origin(self._proxies, sock, peer)
                await self._hand_over(sock, downstream)
            # Lost in the middle of a handshake is no error to uvloop.
            is_open = not self._server.is_expected(downstream)
            if not is_open:
                self.failed["reset"] += 1
        except (OSError, ProxyMalformedError, _UntrustedError) as error:
            self.failed[_cause(error)] += 1
        finally:
            if not is_open:
                self._server.release(downstream)
                sock.close()

    async def _hand_over(self, sock: socket.socket, downstream: Downstream) -> None:
        loop = asyncio.get_running_loop()
        if self._tls is None:
            await loop.connect_accepted_socket(lambda: downstream, sock)
            return
        deadlines = self._server.deadlines
        downstream.belief = self._server.belief
        await accept_tls(
            sock,
            self._tls.context,
            lambda: downstream,
            shutdown_seconds=deadlines.tls_shutdown_seconds,
        )

    @staticmethod
    async def _origin(proxies: TrustedPeers, sock: socket.socket, peer: Any) -> Origin:
        # Before a byte of it is read: what others say about clients is no business of ours.
        name = "unix" if sock.family == socket.AF_UNIX else plain_address(peer[0])
        if not proxies.includes(name):
            raise _UntrustedError
        return parse(await _read_header(sock))


class _UntrustedError(Exception):
    """A connection from somebody who may not send PROXY headers."""


def _cause(error: Exception) -> str:
    """The label of a failure."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ssl.SSLError):
        return "reset" if isinstance(error, ssl.SSLEOFError) else "tls"
    if isinstance(error, OSError):
        return "reset"
    return "proxy-malformed" if isinstance(error, ProxyMalformedError) else "proxy-untrusted"


async def _read_header(sock: socket.socket) -> bytes:
    """Exactly the PROXY header: TLS behind it must not lose a byte.

    Raises:
        ProxyMalformedError: there is none.
        OSError: the connection ended.
    """
    header = b""
    while True:
        try:
            seen = sock.recv(LONGEST_HEADER - len(header), socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(sock)
            continue
        if not seen:
            raise ConnectionResetError
        belongs, is_whole = measure(header + seen)
        header += sock.recv(belongs - len(header))
        if is_whole:
            return header


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    loop.add_reader(sock.fileno(), wake)
    try:
        await waiter
    finally:
        loop.remove_reader(sock.fileno())
