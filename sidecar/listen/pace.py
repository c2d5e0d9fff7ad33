"""How slow a client may be: slow is served, next to nothing is not (PROMISES 19).

A pause is bounded by a deadline; these bound what comes in drops, each of them in time.
"""

import asyncio
import fcntl
import struct
import termios

from sidecar.settings.schema import Deadlines, Limits


def body_due(due: float, size: int, now: float, limits: Limits, deadlines: Deadlines) -> float:
    """Instant by which more of a request's body has to come, `size` bytes of it being here now.

    A credit of time: each byte earns its share, of which no more than the longest pause is kept.

    Args:
        due: the instant so far.
        size: bytes of payload; framing earns nothing.
        now: the loop's clock.
        limits: the slowest rate.
        deadlines: the longest pause.
    """
    latest = now + deadlines.body_idle_seconds
    slowest = limits.slowest_upload_bytes_per_second
    return min(due + size / slowest, latest) if slowest else latest


def unread(transport: asyncio.Transport) -> int:
    """Bytes sent to a client that have not arrived there: in our buffer, and in the kernel's."""
    size = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return size
    # Our buffer alone moves by a third of the kernel's at a time, which may be a megabyte.
    (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return size + int(queued)


def keeps_up(before: int, now: int, limits: Limits, deadlines: Deadlines) -> bool:
    """Whether a client reads: `before` and `now` bytes were unread, a stall's deadline apart."""
    least = limits.slowest_download_bytes_per_second * deadlines.write_stall_seconds
    return before - now >= max(1, least)
