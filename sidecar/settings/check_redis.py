"""Where Redis is: each topology needs some settings, and others mean nothing to it. No I/O."""

import re
from typing import Final
from urllib.parse import urlsplit

from sidecar.settings.address import TcpAddress, parse_address
from sidecar.settings.checker import Checker
from sidecar.settings.problem import Path
from sidecar.settings.schema import Redis

_AT: Final[Path] = ("stores", "redis")
# Braces would move keys to other slots of a Redis Cluster: they mark the hash tag.
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,32}", re.ASCII)
# As Sentinel itself takes it; it is sent as one word.
_SERVICE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
# Setting -> the topologies it belongs to; what is in no row belongs to all.
_BELONGS: Final[dict[str, tuple[str, ...]]] = {
    "url": ("standalone",),
    "nodes": ("sentinel", "cluster"),
    "service": ("sentinel",),
    "username": ("sentinel", "cluster"),
    "password": ("sentinel", "cluster"),
    "sentinel_password": ("sentinel",),
    "tls": ("sentinel", "cluster"),
    "database": ("sentinel",),
}
# Topology -> what it cannot do without.
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "standalone": ("url",),
    "sentinel": ("nodes", "service"),
    "cluster": ("nodes",),
}


def check_redis(redis: Redis, checker: Checker) -> None:
    """Add what is wrong with `redis`; it holds passwords, so nothing of it is quoted."""
    if checker.is_sound((*_AT, "topology")):
        _check_topology(redis, checker)
    if redis.url:
        checker.parsed((*_AT, "url"), redis.url, _redis_url)
    for index, node in enumerate(redis.nodes):
        checker.parsed((*_AT, "nodes", index), node, parse_node)
    if redis.service is not None and not _SERVICE.fullmatch(redis.service):
        checker.wrong(
            (*_AT, "service"),
            "must be 1 to 64 letters, digits and `_`, `.`, `-`: the name in `sentinel monitor`",
        )
    if redis.username is not None and redis.password is None:
        checker.wrong((*_AT, "username"), "needs a password")
    if not _PREFIX.fullmatch(redis.prefix):
        checker.wrong((*_AT, "prefix"), "must be 1 to 32 letters, digits and `_`, `.`, `:`, `-`")


def _check_topology(redis: Redis, checker: Checker) -> None:
    for name in _NEEDS[redis.topology]:
        if not getattr(redis, name) and checker.is_sound((*_AT, name)):
            why = "" if redis.topology != "standalone" else "; others than standalone need nodes"
            checker.wrong((*_AT, name), f"is required with topology {redis.topology}{why}")
    defaults = Redis()
    for name, topologies in _BELONGS.items():
        strange = redis.topology not in topologies
        if strange and getattr(redis, name) != getattr(defaults, name):
            checker.wrong(
                (*_AT, name),
                f"belongs to topology {' or '.join(topologies)}; this is {redis.topology}",
            )


def parse_node(text: str) -> TcpAddress:
    """``host:port`` of a sentinel or a node of a Cluster.

    Raises:
        ValueError: in words that complete "must be ..." and quote nothing.
    """
    if "://" in text or text.startswith("unix:"):
        raise ValueError("host:port alone: TLS and passwords have settings of their own")
    if not re.search(r":[0-9]{1,5}\Z", text, re.ASCII):
        raise ValueError("host:port or [v6]:port")
    address = parse_address(text)
    if not isinstance(address, TcpAddress) or address.port == 0:
        raise ValueError("host:port with a port from 1 to 65535")
    return address


def _redis_url(url: str) -> str:
    if url.startswith("unix:///"):
        return url
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError("redis://host:port, rediss://host:port (TLS) or unix:///path")
    try:
        parts = urlsplit(url)
        complete, path = bool(parts.hostname) and parts.port != 0, parts.path
    except ValueError:
        complete, path = False, ""
    if not complete:
        raise ValueError("redis://host:port with a valid host and port")
    if not re.fullmatch(r"/?|/[0-9]{1,4}", path):
        raise ValueError("redis://host:port/number: after the slash stands a database's number")
    return url
