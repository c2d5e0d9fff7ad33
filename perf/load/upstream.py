"""An upstream that costs next to nothing: each request without a body gets the same answer."""

import asyncio
import sys
from collections.abc import Callable
from typing import cast

import uvloop

from perf.workload import BODY

END = b"\r\n\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nCache-Control: no-store\r\n\r\n%b" % (len(BODY), BODY)
)


class Answerer(asyncio.Protocol):
    """Counts the ends of heads; whatever is before them does not matter here."""

    _write: Callable[[bytes], None]

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only behave like asyncio's.
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        received = self._rest + data if self._rest else data
        if received.endswith(END):
            self._rest = b""
        else:
            self._rest = received[received.rfind(END) + 4 :] if END in received else received
        self._write(ANSWER * received.count(END))


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        uvloop.run(serve())
    except KeyboardInterrupt:
        sys.exit(0)
