"""An upstream that takes its time for each answer, and tells how long its connections were busy.

``GET /busy`` answers at once, with what it did for the other requests.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import cast

import uvloop

from perf.load.upstream import ANSWER, END

# An application that asks a database.
ANSWER_SECONDS = 0.02


class Totals:
    """Over all connections."""

    def __init__(self) -> None:
        self.answers = 0
        self.busy_seconds = 0.0
        self.open = 0
        self.most_open = 0

    def told(self) -> bytes:
        body = json.dumps(vars(self)).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Slow(asyncio.Protocol):
    """One request at a time, as a proxy's connections carry them."""

    _write: Callable[[bytes], None]

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._received = b""
        self._began = 0.0
        self._counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only behave like asyncio's.
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(END):
            return
        if self._received.startswith(b"GET /busy "):
            self._write(self._totals.told())
        else:
            self._count()
            self._began = perf_counter()
            asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._answer)
        self._received = b""

    def _count(self) -> None:
        """The connection is one of the proxy's."""
        if not self._counted:
            self._counted = True
            self._totals.open += 1
            self._totals.most_open = max(self._totals.most_open, self._totals.open)

    def _answer(self) -> None:
        self._totals.answers += 1
        self._totals.busy_seconds += perf_counter() - self._began
        self._write(ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._totals.open -= self._counted


async def serve() -> None:
    totals = Totals()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Slow(totals), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        uvloop.run(serve())
    except KeyboardInterrupt:
        sys.exit(0)
