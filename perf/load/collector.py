"""A collector of spans that swallows them: each export gets the same answer."""

import asyncio
import sys
from collections.abc import Callable
from typing import cast

import uvloop

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


class Swallower(asyncio.Protocol):
    """Reads heads with a Content-Length, and as many octets behind them."""

    _write: Callable[[bytes], None]

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only behave like asyncio's.
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        while data:
            if not self._left:
                self._head += data
                head, end, data = self._head.partition(_END)
                if not end:
                    return
                self._head = b""
                length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
                self._left = int(length or b"0")
            taken = min(self._left, len(data))
            data = data[taken:]
            self._left -= taken
            if not self._left:
                self._write(_ANSWER)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Swallower, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        uvloop.run(serve())
    except KeyboardInterrupt:
        sys.exit(0)
