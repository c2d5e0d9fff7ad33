"""HTTP answers that are complete in time or late: `requests` bounds only pauses between octets.

A server that sends an octet now and then, of its head or of its body, would hold the thread that
reads for as long as it likes. Here the timeout of the call bounds all of its answer.
"""

import http.client
import io
import socket
from typing import Any, Final

import requests
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from sidecar.clock import stopwatch


class _Reading(io.RawIOBase):
    """What a socket reads, until an instant of the stopwatch."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, until: float) -> None:
        self._raw = raw
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._until - stopwatch()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer, all of which has the time of one pause."""

    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        seconds = sock.gettimeout()
        if seconds is not None:
            reading = _Reading(self.fp.detach(), sock, stopwatch() + seconds)
            self.fp = io.BufferedReader(reading)


class _Plain(HTTPConnection):
    response_class = _Answer


class _Encrypted(HTTPSConnection):
    response_class = _Answer


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted


_POOLS: Final = {"http": _PlainPool, "https": _EncryptedPool}


def bound_answers(session: requests.Session) -> None:
    """From now on the timeout of a call of `session` bounds the whole of its answer, too."""
    for adapter in session.adapters.values():
        if isinstance(adapter, requests.adapters.HTTPAdapter):
            adapter.poolmanager.pool_classes_by_scheme = _POOLS
