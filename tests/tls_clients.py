"""Clients that speak TLS, and say something before it."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.certificates import Authority, Leaf


def trusting(
    authority: Authority, leaf: Leaf | None = None, folder: Path | None = None
) -> ssl.SSLContext:
    """A client's context.

    Args:
        authority: whom it believes.
        leaf: the certificate it presents.
        folder: where the files of `leaf` may lie.
    """
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if leaf is not None:
        assert folder is not None
        context.load_cert_chain(*leaf.write(folder, f"client-{leaf.certificate.serial_number}"))
    return context


class TlsSocket:
    """TLS by hand: every byte that is sent can be cut, and put behind others."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def handshake(self, before: bytes, step: int) -> None:
        """Send `before` and then the handshake, `step` bytes at a time (0: together)."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(before, step)
                before = b""
                self._receive()
            else:
                self._flush(before, step)
                return

    def greet(self) -> None:
        """Begin the handshake, and read what the server first says to it."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self._flush(b"", 0)
        self._receive()

    def send(self, request: bytes) -> None:
        """Send, and read nothing."""
        self.tls.write(request)
        self._flush(b"", 0)

    def ask(self, request: bytes) -> bytes:
        """Send, and read until the server ends."""
        self.send(request)
        answer = b""
        while True:
            try:
                piece = self.tls.read(65536)
            except ssl.SSLWantReadError:
                self._receive()
                continue
            except ssl.SSLZeroReturnError:
                return answer
            if not piece:
                return answer
            answer += piece

    def _flush(self, before: bytes, step: int) -> None:
        octets = before + self._outgoing.read()
        send_cut(self._sock, octets, step)

    def _receive(self) -> None:
        octets = self._sock.recv(65536)
        if not octets:
            raise ConnectionResetError
        self._incoming.write(octets)


def send_cut(sock: socket.socket, octets: bytes, step: int) -> None:
    """Send, `step` bytes in a segment (0: as few segments as possible)."""
    for start in range(0, len(octets), step or len(octets) or 1):
        sock.sendall(octets[start : start + (step or len(octets))])


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A blocking socket that sends each piece at once."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def _ask(
    port: int, before: bytes, request: bytes, context: ssl.SSLContext | None, step: int
) -> bytes:
    with connected(port) as sock:
        if context is not None:
            spoken = TlsSocket(sock, context)
            spoken.handshake(before, step)
            return spoken.ask(request)
        send_cut(sock, before + request, step)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return answer


async def ask(
    port: int,
    request: bytes,
    *,
    before: bytes = b"",
    context: ssl.SSLContext | None = None,
    step: int = 0,
) -> bytes:
    """The whole answer to `request`, which asks the server to close.

    Args:
        port: on 127.0.0.1.
        request: what is asked.
        before: what is sent before TLS or the request, together with it.
        context: of TLS; None for a plain connection.
        step: bytes in a segment, for `before` and the handshake; 0 for all at once.
    """
    return await asyncio.to_thread(_ask, port, before, request, context, step)
