"""How slow a client may be: slow is served, next to nothing is not (PROMISES 19).

A pause is bounded by a deadline; these bound what comes in drops, each of them in time.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Final

from sidecar.settings.schema import Deadlines, Limits

# tcpi_bytes_acked (linux/tcp.h, since 4.1): behind 8 octets, 24 numbers of four and 2 of eight.
_BYTES_ACKED: Final = struct.Struct("=120xQ")
# What kernels were seen to swallow or hold back in one piece: with the buffers they begin with, and
# with those they come to have (measured: 129 kB, and 790 kB for a buffer of 8 MiB).
_STEP_BYTES: Final = 131_072
_LARGEST_STEP_BYTES: Final = 1_048_576


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


class Patience:
    """How long a client is still waited for that does not keep up with its answer.

    A credit of time: each octet it takes earns its share at the slowest rate, and waiting spends
    it. A kernel that is full says nothing before a large part of it is free again: on Linux about
    128 KiB at first, and more where it has grown its buffer, so that an application that reads a
    kilobyte each second is silent for minutes. Hence the credit for that much in the beginning, and
    for up to 1 MiB where so much was taken. What is spent is spent for the whole connection: only
    octets earn more.

    Args:
        rate: the slowest, in octets per second.
        least_seconds: what there is in the beginning at least.
    """

    __slots__ = (
        "_asked_at", "_looked_at", "_most", "_rate", "_seconds", "_taken", "_taken_when_asked",
    )  # fmt: skip

    def __init__(self, rate: float, least_seconds: float) -> None:
        self._rate = rate
        self._most = max(least_seconds, _LARGEST_STEP_BYTES / rate)
        self._seconds = max(least_seconds, _STEP_BYTES / rate)
        self._taken: int | None = None
        self._looked_at = 0.0
        self._asked_at = 0.0
        self._taken_when_asked = 0

    def begin(self, taken: int, now: float) -> None:
        """It does not keep up, from `now` on, having taken so many octets (`taken`)."""
        if self._taken is None:
            # What went by before took no time of ours, but shows how much its kernel may hold.
            self._seconds = min(max(self._seconds, taken / self._rate), self._most)
            self._taken = taken
        else:
            self._earn(taken)
        self._looked_at = self._asked_at = now
        self._taken_when_asked = taken

    def lasts(self, taken: int, now: float) -> bool:
        """Whether it is still waited for at `now`, having taken so many octets."""
        self._seconds -= now - self._looked_at
        self._looked_at = now
        self._earn(taken)
        return self._seconds > 0

    def lags(self, taken: int, now: float) -> bool:
        """Whether it was slower than the slowest rate since it was asked last, or stopped.

        Nothing is spent or earned: this is for when others wait for what it holds.
        """
        took, seconds = taken - self._taken_when_asked, now - self._asked_at
        self._asked_at, self._taken_when_asked = now, taken
        return took < seconds * self._rate

    @property
    def until(self) -> float:
        """The instant when it is over unless more is taken."""
        return self._looked_at + self._seconds

    def _earn(self, taken: int) -> None:
        before = taken if self._taken is None else self._taken
        earned = max(0, taken - before) / self._rate
        self._seconds = min(self._seconds + earned, self._most)
        self._taken = taken


def patience(limits: Limits, deadlines: Deadlines) -> Patience | None:
    """With a client of a listener; None where there is no slowest rate."""
    rate = limits.slowest_download_bytes_per_second
    return Patience(rate, deadlines.write_stall_seconds) if rate else None


def backlog(transport: asyncio.Transport) -> tuple[int, int]:
    """Octets that a peer took, as `taken`, and those that it was sent and has not taken yet."""
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
        waiting += queued
    return taken(transport), waiting


def taken(transport: asyncio.Transport) -> int:
    """Octets that the client's kernel took, since any fixed moment.

    Of TCP what it acknowledged (tcp(7), TCP_INFO): no buffer on our side moves that. Of anything
    else how little is left of what we sent, which may fall while more is being sent.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return -transport.get_write_buffer_size()
    if sock.family != socket.AF_UNIX:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        if len(state) == _BYTES_ACKED.size:
            (acknowledged,) = _BYTES_ACKED.unpack(state)
            return int(acknowledged)
    (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    return -transport.get_write_buffer_size() - int(queued)
