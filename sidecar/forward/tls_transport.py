"""TLS on a socket of our own: OpenSSL reads from it and writes to it, and nobody copies between.

uvloop's TLS feeds OpenSSL from memory and takes what it made back into memory. On top of a plain
echo that costs a request and its answer twice what this does, and an idle connection half as much
memory again (perf/micro/tls.py, perf/connections.py). And this keeps nothing that was read: a
connection that is paused, or that ends, has nothing to lose.

What is different from a plain transport is what TLS is: the end of one direction is the end of
both, and the end of TCP without ``close_notify`` is a truncation, told as an error (RFC 8446
section 6.1).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

# The largest record there is (RFC 8446 section 5.1): one read takes a whole one, so that nothing
# stays in OpenSSL where no poll would tell of it.
_RECORD_BYTES: Final = 16_384
_HIGH_WATER_BYTES: Final = 65_536
# OpenSSL writes a record at a time: of what waits, no more than this is copied for each.
_AT_ONCE_BYTES: Final = 65_536


class TlsTransport(asyncio.Transport):
    """A connection whose handshake is done.

    Args:
        sock: the connection; not blocking, without suppression of ragged ends.
        shutdown_seconds: how long a peer has to close, too, once it was told the end.
    """

    __slots__ = (
        "_fd", "_high", "_is_closing", "_is_full", "_is_reading", "_is_shut", "_is_writing",
        "_loop", "_low", "_peer_ended", "_peername", "_protocol", "_reads_when_writable",
        "_shutdown_seconds", "_sock", "_timer", "_unsent",
    )  # fmt: skip

    def __init__(self, sock: ssl.SSLSocket, *, shutdown_seconds: float) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fd = sock.fileno()
        self._shutdown_seconds = shutdown_seconds
        self._protocol: asyncio.Protocol | None = None
        self._unsent = bytearray()
        self._high, self._low = _HIGH_WATER_BYTES, _HIGH_WATER_BYTES // 4
        self._is_full = False
        self._is_reading = False
        self._is_writing = False
        self._reads_when_writable = False
        self._is_closing = False
        self._is_shut = False
        self._peer_ended = False
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._peername = sock.getpeername()
        except OSError:
            self._peername = None
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self, protocol: asyncio.Protocol) -> None:
        """Give the connection to `protocol`."""
        self._protocol = protocol
        protocol.connection_made(self)
        self.resume_reading()

    # -- asyncio.BaseTransport --------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio: of the connection, while there is one; ``ssl_object`` is the socket itself."""
        if name in {"socket", "ssl_object"}:
            return self._sock if self._sock.fileno() >= 0 else default
        if name == "peername":
            return self._peername or default
        return self._sock.context if name == "sslcontext" else default

    def is_closing(self) -> bool:
        """asyncio: whether it is closed, or about to be."""
        return self._is_closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """asyncio: from now on it is another's."""
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError("only streams of octets are read here")
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """asyncio: whose it is."""
        if self._protocol is None:
            raise RuntimeError("nobody has it any more")
        return self._protocol

    def close(self) -> None:
        """asyncio: end it when all is sent."""
        if self._is_closing:
            return
        self._is_closing = True
        self._read_no_more()
        if not self._unsent:
            self._shut()

    # -- Reading ----------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """asyncio: whether it is read."""
        return self._is_reading

    def pause_reading(self) -> None:
        """asyncio: read no more; what comes stays with the kernel."""
        self._read_no_more()

    def resume_reading(self) -> None:
        """asyncio: read."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._loop.add_reader(self._fd, self._read)

    def _read_no_more(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        try:
            octets = self._sock.recv(_RECORD_BYTES)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            # An answer of TLS itself (to a new key) has to go first.
            self._reads_when_writable = True
            self._write_on()
            return
        except OSError as error:
            self._lose(error)
            return
        protocol = self._protocol
        if protocol is None:
            return
        try:
            if octets:
                protocol.data_received(octets)
                return
            self._peer_ended = True
            protocol.eof_received()
        except Exception as error:  # noqa: BLE001 - as of any transport: a bug ends its connection
            self._break(error)
            return
        self.close()

    # -- Writing ----------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """asyncio: send; nothing where it is closing."""
        if self._is_closing or not data:
            return
        if self._unsent:
            self._unsent += data
        else:
            left = self._send(data)
            if not left:
                return
            self._unsent += memoryview(data)[len(data) - left :]
            self._write_on()
        if not self._is_full and len(self._unsent) > self._high:
            self._is_full = True
            if self._protocol is not None:
                self._protocol.pause_writing()

    def _send(self, octets: bytes | bytearray | memoryview) -> int:
        """Give the kernel what it takes; how much is left of it.

        By records: what OpenSSL was given and could not send has to be given to it again, and at
        least as much of it; what waits only grows at its end.
        """
        size = len(octets)
        sent = 0
        try:
            if size <= _RECORD_BYTES:
                return size - self._sock.send(octets)
            view = memoryview(octets)
            while sent < size:
                sent += self._sock.send(view[sent : sent + _RECORD_BYTES])
        except ssl.SSLWantWriteError:
            pass
        except OSError as error:
            # That it wants to read first is none of what it may want: renegotiation is off.
            self._lose(error)
            return 0
        return size - sent

    def _write_on(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._fd, self._write)

    def _write_no_more(self) -> None:
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._fd)

    def _write(self) -> None:
        """The kernel takes more."""
        if self._reads_when_writable:
            self._reads_when_writable = False
            if self._is_reading:
                self._read()
        unsent = self._unsent
        while unsent and self._is_writing:
            part = bytes(unsent[:_AT_ONCE_BYTES])
            left = self._send(part)
            if not self._is_writing:  # lost
                return
            del unsent[: len(part) - left]
            if left:
                break
        if not unsent:
            if not self._reads_when_writable:
                self._write_no_more()
            if self._is_closing:
                self._shut()
                return
        if self._is_full and len(unsent) <= self._low:
            self._is_full = False
            if self._protocol is not None:
                self._protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """asyncio: from which size on, and down to which, its protocol is to pause."""
        self._high = _HIGH_WATER_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """asyncio: octets that the kernel has not taken."""
        return len(self._unsent)

    def can_write_eof(self) -> bool:
        """asyncio: the end of TLS is the end of both directions."""
        return False

    # -- Ending -----------------------------------------------------------------------------

    def _shut(self) -> None:
        """All is sent: say so, and give the peer time to say so, too.

        To close at once would reset what is still on its way to a peer that is sending.
        """
        if self._is_shut or self._sock.fileno() < 0:
            return
        try:
            self._sock.unwrap()
        except ssl.SSLWantWriteError:
            self._write_on()
            return
        except OSError:
            # Said; that it would like to read the peer's end, or that there is none, is no news.
            pass
        self._is_shut = True
        if self._peer_ended:
            self._end(None)
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)  # from here on it is a plain socket
        except OSError:
            self._end(None)
            return
        self._timer = self._loop.call_later(self._shutdown_seconds, self._end, None)
        self._is_reading = True
        self._loop.add_reader(self._fd, self._drop)

    def _drop(self) -> None:
        """Read what nobody wants any more, until its end."""
        try:
            octets = self._sock.recv(_RECORD_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            octets = b""
        if not octets:
            self._end(None)

    def abort(self) -> None:
        """asyncio: end it now."""
        self._end(None)

    def _lose(self, error: OSError) -> None:
        self._end(error)

    def _break(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {"message": "a protocol failed", "exception": error, "transport": self}
        )
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        """Close; its protocol hears of it in the next turn of the loop."""
        if self._sock.fileno() < 0:
            return
        self._is_closing = True
        self._read_no_more()
        self._write_no_more()
        self._unsent.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sock.close()
        self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)


async def accept_tls(
    sock: socket.socket,
    context: ssl.SSLContext,
    make: Callable[[], asyncio.Protocol],
    *,
    shutdown_seconds: float,
) -> None:
    """Shake hands on an accepted connection, and give it to the protocol that `make` makes.

    Args:
        sock: the connection; not blocking. It is ours from now on.
        context: of a server.
        make: called once the handshake is done.
        shutdown_seconds: see `TlsTransport`.

    Raises:
        OSError: the handshake failed (`ssl.SSLError`), or the connection ended.
    """
    tls = context.wrap_socket(
        sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    is_open = False
    try:
        await _shake_hands(tls)
        is_open = True
    finally:
        if not is_open:
            _refuse(tls)
    TlsTransport(tls, shutdown_seconds=shutdown_seconds).start(make())


def _refuse(tls: ssl.SSLSocket) -> None:
    """Close without a reset for what has arrived: it would take the alert away from its reader."""
    with tls, contextlib.suppress(OSError):
        tls.shutdown(socket.SHUT_WR)
        tls.recv(_HIGH_WATER_BYTES)


async def _shake_hands(tls: ssl.SSLSocket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await _ready(loop.add_reader, loop.remove_reader, tls.fileno())
        except ssl.SSLWantWriteError:
            await _ready(loop.add_writer, loop.remove_writer, tls.fileno())
        else:
            return


async def _ready(
    add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], object], fd: int
) -> None:
    waiter = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    add(fd, wake)
    try:
        await waiter
    finally:
        remove(fd)
