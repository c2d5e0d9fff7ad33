"""All peers by name, in the order in which tables show them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from perf.peers import (
    aiohttp_proxy,
    caddy,
    envoy,
    haproxy,
    nginx,
    nginx_auth,
    nginx_tls,
    oathkeeper,
    oauth2_proxy,
    opa,
    sidecar,
    traefik,
)
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
    envoy.NAME_JWT: Entry(envoy.started_jwt, default=True),
    envoy.NAME_EXT: Entry(envoy.started_ext, default=True),
    traefik.NAME: Entry(traefik.started, default=True),
    caddy.NAME: Entry(caddy.started, default=True),
    oauth2_proxy.NAME: Entry(oauth2_proxy.started),
    oathkeeper.NAME: Entry(oathkeeper.started),
    opa.NAME: Entry(opa.started),
    sidecar.NAME_TLS: Entry(sidecar.started_tls, default=True),
    nginx_tls.NAME: Entry(nginx_tls.started, default=True),
}


def chosen(which: str, only: tuple[str, ...]) -> list[str]:
    """Names to measure: exactly `only` if there are any, else ``default``, ``all`` or ``none``."""
    if only:
        return [name for name in PEERS if name in only]
    if which == "none":
        return []
    return [name for name, entry in PEERS.items() if which == "all" or entry.default]
