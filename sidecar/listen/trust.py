"""Whose word about the client's address is believed (PROMISES 10). Nobody's, unless configured."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network


def plain_address(host: str) -> str:
    """One spelling for each peer: no scope, and IPv4 as such where it came to an IPv6 socket."""
    return host.removeprefix("::ffff:").partition("%")[0]


class TrustedPeers:
    """The configured networks of proxies before us.

    Args:
        networks: CIDR networks or single addresses, and ``unix`` for peers on a unix socket.

    Raises:
        ValueError: one of them is neither.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        entries = set(networks)
        self._unix = "unix" in entries
        self._networks = tuple(ip_network(entry) for entry in sorted(entries - {"unix"}))

    def includes(self, address: str) -> bool:
        """Whether the peer at `address` (an IP address without port, or ``unix``) is one."""
        if address == "unix":
            return self._unix
        if not self._networks:
            return False
        peer = ip_address(address)
        return any(peer in network for network in self._networks)
