"""How a connection to an upstream is made."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final

from sidecar.forward.connection import UpstreamConnection
from sidecar.forward.tls import TlsFiles, bound_buffers, upstream_files
from sidecar.settings.address import TcpAddress, is_tls, parse_upstream
from sidecar.settings.schema import Upstream, UpstreamTls

_LOG: Final = logging.getLogger(__name__)
# Each failed connection is counted; the log says why, not how often.
_LOG_AGAIN_SECONDS: Final = 10.0
# Connections mostly end by a reset. Where not, the upstream need not be waited for.
_AFTERWARDS_SECONDS: Final = 1.0
_SHUTDOWN_SECONDS: Final = 1.0


class Dialler:
    """Connects to one upstream: ``http://host:port``, ``https://host:port`` or ``unix:/path``.

    Names are resolved at each connection: what moves is found again.

    Args:
        name: of the upstream.
        settings: where it is.

    Attributes:
        tls: the files of TLS; None for a plain connection.

    Raises:
        ValueError: the URL is none of the three.
        TlsFilesError: the files for TLS are no good.
    """

    def __init__(self, name: str, settings: Upstream) -> None:
        self._name = name
        self._settings = settings
        self._address = parse_upstream(settings.url)
        self._logged_at = -_LOG_AGAIN_SECONDS
        self._server_name: str | None = None
        self.tls: TlsFiles | None = None
        if is_tls(settings.url) and isinstance(self._address, TcpAddress):
            tls = settings.tls or UpstreamTls()
            self.tls = upstream_files(name, tls)
            self._server_name = tls.server_name or self._address.host

    async def __call__(self, make: Callable[[], UpstreamConnection]) -> UpstreamConnection:
        """Connect, with a handshake where there is TLS; raises OSError."""
        loop = asyncio.get_running_loop()
        address = self._address
        if not isinstance(address, TcpAddress):
            _, connection = await loop.create_unix_connection(make, address.path)
        elif self.tls is None:
            _, connection = await loop.create_connection(make, address.host, address.port)
        else:
            connection = await self._connect_tls(make, address, self.tls)
        return connection

    async def _connect_tls(
        self, make: Callable[[], UpstreamConnection], address: TcpAddress, tls: TlsFiles
    ) -> UpstreamConnection:
        try:
            transport, connection = await asyncio.get_running_loop().create_connection(
                make,
                address.host,
                address.port,
                ssl=tls.context,
                server_hostname=self._server_name,
                # Longer than the pool's own deadline for all of it, which is told as one.
                ssl_handshake_timeout=self._settings.connect_seconds + _AFTERWARDS_SECONDS,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except ssl.SSLError as error:
            self._tell(error)
            raise
        bound_buffers(transport)
        return connection

    def _tell(self, error: ssl.SSLError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= _LOG_AGAIN_SECONDS:
            self._logged_at = now
            why = getattr(error, "verify_message", "") or error.reason or "it broke off"
            _LOG.warning("no TLS with upstream %s: %s", self._name, why)
