"""How many connections the process has descriptors for.

A process without descriptors cannot accept, and cannot reach an upstream or a store either, so
that those who are connected already would not be served. So clients get what is left when the
rest has its share.
"""

import logging
import resource
from typing import Final

_LOG: Final = logging.getLogger(__name__)
# Listeners, stores, files, the loop itself, and what libraries open for a moment.
_OWN: Final = 64


def ceiling(wanted: int, upstreams: int, operators: int = 0) -> int:
    """How many client connections there may be.

    Raises the soft limit of the process as far as the hard one allows.

    Args:
        wanted: as the settings say.
        upstreams: connections to upstreams that there may be.
        operators: connections of operators that there may be.

    Returns:
        `wanted`, or less where the process may not open so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _OWN + operators + upstreams + wanted
    if soft < needed and soft != resource.RLIM_INFINITY:
        more = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if more > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
    if soft == resource.RLIM_INFINITY:
        return wanted
    found = most_clients(soft - operators, wanted, upstreams)
    if found < wanted:
        _LOG.warning(
            "the limit of %d open files leaves room for %d client connections, not %d: raise it "
            "(ulimit -n, LimitNOFILE=)",
            soft,
            found,
            wanted,
        )
    return found


def most_clients(descriptors: int, wanted: int, upstreams: int) -> int:
    """How many of `descriptors` clients may have: at least half of what is not our own.

    A client that waits needs no upstream connection, so few upstream connections serve many.
    """
    free = max(2, descriptors - _OWN)
    return max(1, min(wanted, free - min(upstreams, free // 2)))
