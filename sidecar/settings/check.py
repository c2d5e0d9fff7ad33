"""What the types cannot say: whether the settings make sense together. No I/O."""

import re
from typing import Final

from sidecar.settings.address import Address, TcpAddress, is_loopback, parse_address, parse_upstream
from sidecar.settings.check_cors import check_cors
from sidecar.settings.check_credentials import check_credentials
from sidecar.settings.check_fields import check_fields
from sidecar.settings.check_limits import check_limits
from sidecar.settings.check_redis import check_redis
from sidecar.settings.check_tls import check_tls
from sidecar.settings.check_tracing import check_tracing
from sidecar.settings.check_websocket import check_websocket
from sidecar.settings.checker import Checker
from sidecar.settings.positions import Positions
from sidecar.settings.problem import Findings, nearest
from sidecar.settings.schema import Root

# Names of upstreams become labels of metrics.
_UPSTREAM_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
# libpq's other values of it, in a URL or among key=value pairs.
_LETS_STANDBYS_IN: Final = re.compile(
    r"\btarget_session_attrs\s*=\s*'?(?:any|read-only|standby|prefer-standby)\b"
)


def check(root: Root, positions: Positions, findings: Findings) -> None:
    """Add to `findings` what is wrong with `root` beyond the types of its values."""
    checker = Checker(positions, findings)
    check_addresses(root, checker)
    check_route_upstreams(root, checker)
    check_stores(root, checker)
    check_cache(root, checker)
    check_credentials(root, checker)
    check_fields(root, checker)
    check_tls(root, checker)
    check_limits(root, checker)
    check_cors(root, checker)
    check_websocket(root, checker)
    check_tracing(root, checker)
    check_texts(root, checker)


def check_addresses(root: Root, checker: Checker) -> None:
    """Listeners and upstreams have addresses, and none is in another's way."""
    listen = checker.parsed(("listen", "address"), root.listen.address, parse_address)
    admin = checker.parsed(("admin", "address"), root.admin.address, parse_address)
    if _collide(listen, admin):
        checker.wrong(
            ("admin", "address"),
            "must not be listen.address: administration is never reachable through the traffic "
            "listener",
        )
    for name, upstream in root.upstreams.items():
        path = ("upstreams", name)
        if not _UPSTREAM_NAME.fullmatch(name):
            checker.wrong(
                path, "the name of an upstream has letters, digits, `-`, `_` and `.` only"
            )
        address = checker.parsed((*path, "url"), upstream.url, parse_upstream)
        if _collide(address, listen):
            checker.wrong(
                (*path, "url"),
                "is the address we listen on (listen.address): requests would go in circles",
            )


def _collide(one: Address | None, other: Address | None) -> bool:
    """Whether both are certainly the same place; port 0 is a free one."""
    if isinstance(one, TcpAddress) and isinstance(other, TcpAddress):
        same_host = one.host == other.host or (_is_here(one.host) and _is_here(other.host))
        return same_host and one.port == other.port != 0
    return one is not None and one == other


def _is_here(host: str) -> bool:
    """Whether `host` is loopback, or all addresses of this machine, loopback among them."""
    return is_loopback(host) or host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound to


def check_route_upstreams(root: Root, checker: Checker) -> None:
    """Each route's upstream exists; it may be left out when there is only one."""
    if not checker.is_sound(("upstreams",)) and not root.upstreams:
        return
    names = list(root.upstreams)
    for index, rule in enumerate(root.routes):
        path = ("routes", index, "upstream")
        if rule.upstream is None and len(names) > 1:
            checker.remark(path, f"is required with several upstreams: one of {', '.join(names)}")
        elif rule.upstream is not None and rule.upstream not in names:
            quoted = checker.quote(path, rule.upstream)
            suggestion = nearest(rule.upstream, names)
            known = "" if suggestion else f"; known are {', '.join(names)}"
            checker.remark(path, f"there is no upstream {quoted}{known}", suggestion)


def check_stores(root: Root, checker: Checker) -> None:
    """Addresses of the stores; they hold passwords, so nothing of them is quoted."""
    stores = root.stores
    dsn = stores.postgres.dsn
    if not dsn.startswith(("postgresql://", "postgres://")) and "=" not in dsn:
        checker.wrong(
            ("stores", "postgres", "dsn"),
            "must be postgresql://user:password@host:port/database or key=value pairs",
        )
    elif _LETS_STANDBYS_IN.search(dsn):
        checker.wrong(
            ("stores", "postgres", "dsn"),
            "must lead to the primary, since a standby does not know yet what was revoked: "
            "target_session_attrs is read-write or primary, or left out",
        )
    if stores.postgres.pool_min > stores.postgres.pool_max:
        checker.wrong(
            ("stores", "postgres", "pool_min"),
            f"must be at most pool_max, which is {stores.postgres.pool_max}",
        )
    if stores.redis is not None:
        check_redis(stores.redis, checker)


def check_cache(root: Root, checker: Checker) -> None:
    """Times that depend on each other (the lease protocol needs this order)."""
    cache = root.cache
    if cache.heartbeat_seconds * 2 > cache.lease_seconds:
        checker.wrong(
            ("cache", "heartbeat_seconds"),
            f"must be at most half of lease_seconds, which is {cache.lease_seconds}: one lost "
            "heartbeat must not end the lease",
        )
    if not cache.shortest_entry_seconds <= cache.entry_seconds <= cache.longest_entry_seconds:
        checker.wrong(
            ("cache", "entry_seconds"),
            f"must be from shortest_entry_seconds to longest_entry_seconds, which are "
            f"{cache.shortest_entry_seconds} and {cache.longest_entry_seconds}: it is where "
            "lifetimes begin",
        )
    if root.stores.load_seconds >= cache.lease_seconds:
        checker.wrong(
            ("stores", "load_seconds"),
            f"must be less than cache.lease_seconds, which is {cache.lease_seconds}: what is read "
            "must be fresh when it arrives",
        )


def check_texts(root: Root, checker: Checker) -> None:
    """Texts that are written out somewhere."""
    sink = root.audit.sink
    if sink not in {"stdout", "stderr", "off"} and not re.fullmatch(r"file:/[^\0]+", sink):
        suggestion = nearest(sink, ["stdout", "stderr", "off"])
        checker.wrong(("audit", "sink"), "must be stdout, stderr, off or file:/path", suggestion)
    if not root.help_text.isprintable():
        checker.wrong(("help_text",), "must be one line without control characters")
