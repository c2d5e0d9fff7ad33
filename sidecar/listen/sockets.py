"""Listening sockets: opened once, and inherited by every worker."""

import os
import socket
import stat

from sidecar.settings.address import Address, TcpAddress, UnixAddress


def open_listeners(address: Address, backlog: int) -> list[socket.socket]:
    """Sockets that listen at `address`: one, or one for each address of a name.

    Args:
        address: where; port 0 takes a free one.
        backlog: connections that the kernel keeps until they are accepted.

    Raises:
        OSError: one of them cannot be opened; then none is.
    """
    if isinstance(address, UnixAddress):
        return [_unix(address, backlog)]
    opened: list[socket.socket] = []
    try:
        for family, where in _resolve(address):
            opened.append(_tcp(family, where, backlog))
    except OSError:
        for each in opened:
            each.close()
        raise
    return opened


def bound_address(listener: socket.socket) -> Address:
    """Where `listener` listens, with its real port."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return UnixAddress(os.fsdecode(name))
    return TcpAddress(name[0], name[1])


def _resolve(address: TcpAddress) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # A name may stand twice in /etc/hosts.
    return list(dict.fromkeys((family, where) for family, _, _, _, where in found))


def _tcp(family: int, where: tuple[object, ...], backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart need not wait until the connections of the last run are forgotten.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` leaves IPv4 to a socket of its own, as the same port of 0.0.0.0 may be.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _unix(address: UnixAddress, backlog: int) -> socket.socket:
    try:
        # Left by a run that ended; anything else in that place is not ours to remove.
        if stat.S_ISSOCK(os.stat(address.path).st_mode):  # noqa: PTH116 - beside os.unlink
            os.unlink(address.path)  # noqa: PTH108 - socket paths are texts here
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address.path)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
