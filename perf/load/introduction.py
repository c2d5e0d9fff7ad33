"""Before the load: each request once, one after the other, so that a proxy knows each token.

What it has to look up or to verify for the first time is no part of a figure about the warm state;
and on a busy machine a look-up may take longer than its bound, which a proxy may answer with 503
and Retry-After, as to any client.
"""

import asyncio
import re
import ssl

from perf.workload import HOST

TRIES = 40
_PATIENCE_SECONDS = 0.25
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class WithoutLengthError(RuntimeError):
    """An answer whose end is told in another way: its connection is of no more use here.

    Attributes:
        status: of the answer.
    """

    def __init__(self, head: bytes) -> None:
        super().__init__(f"an answer without a length: {head[:600]!r}")
        self.status = int(head.split(b" ", 2)[1])


async def introduced(port: int, requests: list[bytes], tls: ssl.SSLContext | None = None) -> int:
    """Sends each request until it is not answered with 503.

    Returns:
        How many were sent once more.

    Raises:
        RuntimeError: there was another answer than 200, or too many were 503.
        OSError: it cannot be reached, or closed the connection.
    """
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname=HOST if tls else None
    )
    again = 0
    try:
        for request in requests:
            status = 503
            for _ in range(TRIES):
                writer.write(request)
                status = await status_of(reader)
                if status != 503:
                    break
                again += 1
                await asyncio.sleep(_PATIENCE_SECONDS)
            if status != 200:
                raise RuntimeError(f"introduced with a sound request, answered {status}")
    finally:
        writer.transport.abort()
    return again


async def status_of(reader: asyncio.StreamReader) -> int:
    """Of the next answer, which is read to its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None:
            raise WithoutLengthError(head)
        await reader.readexactly(int(length[1]))
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the proxy closed a connection") from error
    return int(head.split(b" ", 2)[1])
