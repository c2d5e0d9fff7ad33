"""TLS contexts made from files, and made anew when the files change.

A Kubernetes Secret or ConfigMap is renewed by swapping a symbolic link, a mounted file by writing
it: so what is compared is the resolved path and the state of the file behind it. Connections keep
the context they began with; new ones get the new one. Files that make no context change nothing.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.x509 import load_pem_x509_certificates

from sidecar.settings.schema import Tls, UpstreamTls

_LOG: Final = logging.getLogger(__name__)
# All we speak; who offers h2 alone gets no protocol that it could use.
_PROTOCOLS: Final = ["http/1.1"]
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# A peer that is not read holds up as much here as on a plain connection.
_UNSENT_BYTES: Final = 65_536


class TlsFilesError(OSError):
    """The files make no TLS context; the message names them and says why, and shows no content."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the files hold.

    Attributes:
        context: made from them.
        not_after: wall-clock end of our own certificate; infinity where we present none.
        authorities: digest of those who vouch for peers, ``b""`` where the machine says who.
    """

    context: ssl.SSLContext
    not_after: float
    authorities: bytes


class TlsFiles:
    """Files of TLS, and the context they make.

    Args:
        name: where they are in the settings, for the log.
        files: their paths.
        make: makes the context from them; raises TlsFilesError.
        reload_seconds: time between two looks.

    Attributes:
        material: what they held when last all was well.
        reloaded: how often they were read anew.
        failed: how often that failed.

    Raises:
        TlsFilesError: they make no context now.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[str],
        make: Callable[[], Material],
        reload_seconds: float,
    ) -> None:
        self.reloaded = 0
        self.failed = 0
        self.changed: Callable[[Material, Material], None] | None = None
        self._name = name
        self._files = tuple(files)
        self._make = make
        self._seconds = reload_seconds
        self._wanted = asyncio.Event()
        # Before reading: what changes meanwhile is seen as a change at the next look.
        self._seen = _state(self._files)
        self.material = make()

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self.material.context

    def want(self) -> None:
        """Look now, not at the next turn (SIGHUP)."""
        self._wanted.set()

    async def keep_fresh(self) -> None:
        """Look every so often; never returns."""
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            await self.look()

    async def look(self) -> None:
        """Read the files anew if they changed; keep what was where they are no good."""
        seen = await asyncio.to_thread(_state, self._files)
        if seen == self._seen:
            return
        self._seen = seen
        before = self.material
        try:
            self.material = await asyncio.to_thread(self._make)
        except TlsFilesError as error:
            self.failed += 1
            _LOG.error("%s changed, and is no good; what was before stays: %s", self._name, error)
            return
        self.reloaded += 1
        _LOG.info("%s changed; new connections use it", self._name)
        if self.changed is not None:
            self.changed(before, self.material)


def listener_files(tls: Tls) -> TlsFiles:
    """The files of our listener.

    Raises:
        TlsFilesError: they make no context.
    """
    files = [tls.certificate, tls.key] + ([tls.client_ca] if tls.client_ca else [])
    return TlsFiles("listen.tls", files, lambda: _for_clients(tls), tls.reload_seconds)


def upstream_files(name: str, tls: UpstreamTls) -> TlsFiles:
    """The files for upstream `name`.

    Raises:
        TlsFilesError: they make no context.
    """
    files = [file for file in (tls.ca, tls.certificate, tls.key) if file]
    where = f"upstreams.{name}.tls"
    return TlsFiles(where, files, lambda: _for_upstream(tls), tls.reload_seconds)


def bound_buffers(transport: asyncio.WriteTransport) -> None:
    """Bound what a TLS transport of uvloop keeps, and lose nothing of it.

    Paused, it would go on reading up to 256 KiB; and the end of the TCP connection behind them
    would drop them. So a paused one reads no further than what has arrived with the last read.
    """
    transport.set_write_buffer_limits(high=_UNSENT_BYTES)
    transport.set_read_buffer_limits(high=1, low=0)  # type: ignore[attr-defined] # of uvloop's TLS


def _for_clients(tls: Tls) -> Material:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.minimum_version]
    # A client could make us work by asking for one handshake after the other (TLS 1.2).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(_PROTOCOLS)
    not_after = _load_own(context, tls.certificate, tls.key)
    authorities = b""
    if tls.client_ca is not None and tls.client_certificate != "off":
        authorities = _load_authorities(context, tls.client_ca)
        required = tls.client_certificate == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return Material(context, not_after, authorities)


def _for_upstream(tls: UpstreamTls) -> Material:
    # Verifies certificate and name; there is no way to turn that off.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    if tls.ca is None:
        context.load_default_certs()
        authorities = b""
    else:
        authorities = _load_authorities(context, tls.ca)
    not_after = float("inf")
    if tls.certificate is not None and tls.key is not None:
        not_after = _load_own(context, tls.certificate, tls.key)
    return Material(context, not_after, authorities)


def _load_own(context: ssl.SSLContext, certificate: str, key: str) -> float:
    """Take our certificate; its end."""
    try:
        # Without a passphrase OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
        chain = load_pem_x509_certificates(Path(certificate).read_bytes())
        return chain[0].not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:
        raise TlsFilesError(f"{certificate} with {key}: {_reason(error)}") from None


def _load_authorities(context: ssl.SSLContext, file: str) -> bytes:
    try:
        content = Path(file).read_bytes()
        context.load_verify_locations(file)
    except (OSError, ValueError) as error:
        raise TlsFilesError(f"{file}: {_reason(error)}") from None
    return sha256(content).digest()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").lower().replace("_", " ")
    return (isinstance(error, OSError) and error.strerror) or "not PEM"


def _state(files: Sequence[str]) -> tuple[object, ...]:
    """What tells one state of the files from another."""
    return tuple(_state_of(file) for file in files)


def _state_of(file: str) -> tuple[object, ...]:
    try:
        found = os.stat(file)  # noqa: PTH116 - beside realpath, which pathlib resolves differently
    except OSError as error:
        return (error.errno,)
    where = os.path.realpath(file)
    return (where, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
