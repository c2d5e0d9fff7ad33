"""Addresses as they are written in the configuration: where we listen, where upstreams are."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

# RFC 1123 section 2.1; the underscore is common in the names of containers.
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
# sockaddr_un.sun_path has 108 bytes with the final NUL (unix(7)).
_UNIX_PATH_BYTES: Final = 107
# RFC 9110 sections 4.2.1 and 4.2.2.
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Attributes: host (a name, or an IP address without brackets) and port (0 for any free)."""

    host: str
    port: int

    def __str__(self) -> str:
        """``host:port``, with brackets around IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """Attributes: the absolute path of the socket."""

    path: str

    def __str__(self) -> str:
        """``unix:/path``."""
        return f"unix:{self.path}"


Address: TypeAlias = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """``host:port``, ``[v6]:port`` or ``unix:/path``.

    Raises:
        ValueError: in words that complete "must be ..." and quote nothing.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError("unix: and an absolute path, such as unix:/run/sidecar.sock")
        if len(path.encode("utf-8", "surrogatepass")) > _UNIX_PATH_BYTES:
            raise ValueError(f"a socket path of at most {_UNIX_PATH_BYTES} bytes")
        return UnixAddress(path)
    if text.startswith(("http://", "https://")):
        raise ValueError("host:port, without http://")
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port):
        raise ValueError("host:port, [v6]:port or unix:/path")
    if int(port) > 65_535:
        raise ValueError("host:port with a port of at most 65535")
    return TcpAddress(_host(host), int(port))


def parse_upstream(url: str) -> Address:
    """``http://host:port`` (80 when left out), ``https://host:port`` (443) or ``unix:/path``.

    Raises:
        ValueError: in words that complete "must be ..." and quote nothing.
    """
    if url.startswith("unix:"):
        return parse_address(url)
    scheme, separator, authority = url.partition("://")
    default = _PORTS.get(scheme.lower())
    if not separator or default is None:
        raise ValueError("http://host:port, https://host:port or unix:/path")
    if authority.endswith("/") and authority.count("/") == 1:
        authority = authority[:-1]
    if any(mark in authority for mark in "/?#"):
        raise ValueError(
            "http://host:port without a path: what was authorized is forwarded as it is"
        )
    if "@" in authority:
        raise ValueError("http://host:port without user and password")
    if not re.search(r":[0-9]+\Z", authority):
        authority += f":{default}"
    address = parse_address(authority)
    if isinstance(address, TcpAddress) and address.port == 0:
        raise ValueError("http://host:port with a port from 1 to 65535")
    return address


def is_tls(url: str) -> bool:
    """Whether the upstream at `url` is spoken to over TLS."""
    return url.lower().startswith("https://")


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an IP address without brackets) is this machine's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise ValueError("[v6]:port with a valid IPv6 address") from None
    if ":" in text:
        raise ValueError("[v6]:port: IPv6 addresses stand in brackets")
    if not text:
        raise ValueError("host:port; the host is missing")
    if not _HOST.fullmatch(text):
        raise ValueError("host:port with a valid host name")
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise ValueError("host:port with a valid IPv4 address") from None
    return text
