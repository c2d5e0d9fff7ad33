"""Which client an address limit counts."""

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final

# What a network is given (RFC 6177), hence what one client can have addresses of without effort.
_IPV6_PREFIX_BYTES: Final = 8
# Proxies before us, at most; beyond, it is the client that is talking.
_MOST_HOPS: Final = 16


def client_address(
    peer: str, forwarded_for: Sequence[bytes], is_trusted: Callable[[str], bool]
) -> str:
    """The client behind a trusted proxy, as far as proxies that we trust tell.

    Args:
        peer: address of the proxy at the other end of the connection.
        forwarded_for: the values of X-Forwarded-For, in order.
        is_trusted: whether the proxy at an address is believed.

    Returns:
        The last address of the list that is not a trusted proxy's: what stands before it, its
        owner may have made up. Where the list ends or cannot be read, the last one that could be.
    """
    nearest = peer
    hops = b",".join(forwarded_for).split(b",") if forwarded_for else []
    for hop in reversed(hops[-_MOST_HOPS:]):
        address = _read(hop)
        if address is None:
            break
        nearest = address
        if not is_trusted(address):
            break
    return nearest


def _read(hop: bytes) -> str | None:
    """One member of the list: an address, perhaps with a port; None for anything else."""
    text = hop.strip().decode("latin-1")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address))
    return str(address)


def key_of(address: str) -> str | bytes:
    """What an address is counted as: itself, or for IPv6 its /64; ``unix`` as such."""
    if ":" not in address:
        return address
    return ip_address(address).packed[:_IPV6_PREFIX_BYTES]
