"""All peers by name, in the order in which tables show them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from perf.peers import aiohttp_proxy, haproxy, nginx, nginx_auth, nginx_tls, sidecar
from perf.peers.peer import Peer, Site


@dataclass(frozen=True, slots=True)
class Entry:
    """How a peer is started, and whether it is measured when nothing else is asked for."""

    started: Callable[[Site], AbstractContextManager[Peer]]
    default: bool = False


PEERS: dict[str, Entry] = {
    sidecar.NAME: Entry(sidecar.started, default=True),
    nginx.NAME: Entry(nginx.started, default=True),
    aiohttp_proxy.NAME: Entry(aiohttp_proxy.started, default=True),
    haproxy.NAME: Entry(haproxy.started),
    haproxy.NAME_JWT: Entry(haproxy.started_jwt, default=True),
    nginx_auth.NAME: Entry(nginx_auth.started, default=True),
    sidecar.NAME_TLS: Entry(sidecar.started_tls),
    nginx_tls.NAME: Entry(nginx_tls.started),
}


def chosen(which: str, only: tuple[str, ...]) -> list[str]:
    """Names to measure: exactly `only` if there are any, else ``default`` or ``all``."""
    return [
        name
        for name, entry in PEERS.items()
        if (name in only if only else which == "all" or entry.default)
    ]
