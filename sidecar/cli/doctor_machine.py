"""What `sidecar doctor` looks at on this machine: clock, descriptors, audit sink, own listener."""

import os
import resource
import time
from pathlib import Path
from typing import Final

from sidecar.cli.doctor_findings import Finding, fine, problem, warning
from sidecar.settings.address import TcpAddress, is_loopback, parse_address
from sidecar.settings.schema import Root

MACHINE: Final = "machine"
AUDIT: Final = "audit"
ADMIN: Final = "admin"
# Files, event loop, stores, listeners, JWKS.
_OWN_DESCRIPTORS: Final = 64
_LITTLE_BYTES: Final = 100 * 1024 * 1024


def look_at_clock() -> Finding:
    """Leases need a clock that counts the time a machine was suspended (SYNC.md, R10)."""
    try:
        time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):
        return problem(
            MACHINE,
            "there is no CLOCK_BOOTTIME: after a suspension memory would be believed too long",
            "run it on Linux",
        )
    return fine(MACHINE, "the clock counts suspensions (CLOCK_BOOTTIME)")


def look_at_descriptors(root: Root, limit: int | None = None) -> Finding:
    """Each connection is a file descriptor.

    Args:
        root: the settings.
        limit: of descriptors; the present one for None.
    """
    stores = root.stores.postgres.pool_max + 1
    if root.stores.redis is not None:
        stores += root.stores.redis.connections + 1
    upstreams = sum(upstream.connections for upstream in root.upstreams.values())
    people = root.listen.limits.connections + root.admin.connections
    needed = people + upstreams + stores + _OWN_DESCRIPTORS
    if limit is None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return fine(MACHINE, f"descriptors suffice for all connections ({needed})")
    return warning(
        MACHINE,
        f"{limit} file descriptors are allowed, {needed} needed when all connections are in use: "
        "then new ones are refused",
        f"raise the limit (ulimit -n {needed}, LimitNOFILE={needed}), or lower "
        "listen.limits.connections",
    )


def look_at_audit(root: Root) -> Finding:
    """Whether audit records can be written; creates nothing."""
    sink = root.audit.sink
    if sink == "off":
        return warning(AUDIT, "audit records are off: refusals leave no trace", "set audit.sink")
    if not sink.startswith("file:"):
        return fine(AUDIT, f"audit records go to {sink}")
    path = Path(sink.removeprefix("file:"))
    place = path if path.exists() else path.parent
    if not place.exists():
        return problem(AUDIT, f"the folder of {path} does not exist", "create it: nothing starts")
    if path.is_dir() or not os.access(place, os.W_OK):
        text = f"audit records cannot be written to {path}"
        return problem(AUDIT, text, "give the sidecar's user write access: nothing starts without")
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    if free < _LITTLE_BYTES:
        text = f"{path} has {free // 1024 // 1024} MiB left: then records are lost"
        return warning(AUDIT, text, "make room, or rotate the file")
    return fine(AUDIT, f"audit records go to {path}")


def look_at_admin(root: Root) -> Finding:
    """Who could reach the admin listener."""
    address = parse_address(root.admin.address)
    if not isinstance(address, TcpAddress) or is_loopback(address.host):
        api = "on" if root.admin.token is not None else "off: admin.token is not set"
        return fine(ADMIN, f"the admin listener stays on this machine; its API is {api}")
    text = f"the admin listener is reachable from elsewhere ({address}) without TLS"
    if root.admin.token is not None:
        text += ", and admin.token travels in clear"
    return warning(ADMIN, text, "set admin.address to loopback, or put a network policy before it")
