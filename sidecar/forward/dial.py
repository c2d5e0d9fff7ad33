"""How a connection to an upstream is made."""

import asyncio
from collections.abc import Callable

from sidecar.forward.connection import UpstreamConnection
from sidecar.forward.pool import Connect
from sidecar.settings.address import TcpAddress, parse_upstream


def dialler(url: str) -> Connect:
    """A function that connects to the upstream at `url` (``http://host:port``, ``unix:/path``).

    Names are resolved at each connection: what moves is found again.

    Raises:
        ValueError: `url` is neither.
    """
    address = parse_upstream(url)

    async def connect(make: Callable[[], UpstreamConnection]) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        if isinstance(address, TcpAddress):
            _, connection = await loop.create_connection(make, address.host, address.port)
        else:
            _, connection = await loop.create_unix_connection(make, address.path)
        return connection

    return connect
