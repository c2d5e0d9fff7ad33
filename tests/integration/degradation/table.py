"""What a client gets while stores are away: the table that the tests run and the docs show."""

from enum import StrEnum
from typing import Final


class Store(StrEnum):
    """How a store is, as one sidecar sees it."""

    UP = "up"
    # Connections are reset, new ones end at once.
    REFUSED = "refused"
    # Nothing moves and nobody says so: the half-open connection, the host that vanished.
    SILENT = "silent"
    # Everything comes, 2 s late: later than any deadline.
    SLOW = "slow"


class Kind(StrEnum):
    """What the client presents."""

    PUBLIC = "no credential, public route"
    REMEMBERED = "session in memory"
    SHARED = "session in Redis, not in memory"
    STORED = "session in PostgreSQL only"
    REVOKED = "session revoked before"
    REVOKED_NOW = "session revoked during the fault"
    UNKNOWN = "session that never was, signed by us"
    FORGED = "forged session"
    # On a route with `last_known_good_seconds`.
    LENIENT = "session in memory, last-known-good route"
    LENIENT_REVOKED = "session revoked before, last-known-good route"
    LENIENT_REVOKED_NOW = "session revoked during the fault, last-known-good route"


# Whom the sidecar may let in, and whom never.
VALID: Final = frozenset({Kind.PUBLIC, Kind.REMEMBERED, Kind.SHARED, Kind.STORED, Kind.LENIENT})
# Whom it may let in although it should not: outside the promise, for the bound of the route (R9).
TOLERATED: Final = frozenset({Kind.LENIENT_REVOKED_NOW})

Row = tuple[Store, Store]

_UP, _REFUSED, _SILENT, _SLOW = Store


def _row(*statuses: int) -> dict[Kind, int]:
    return dict(zip(Kind, statuses, strict=True))


_ALL_KNOWN: Final = _row(200, 200, 200, 200, 401, 401, 401, 401, 200, 401, 401)
_REDIS_ALONE: Final = _row(200, 200, 200, 503, 503, 503, 503, 401, 200, 503, 503)
_NEITHER: Final = _row(200, 503, 503, 503, 503, 503, 503, 401, 200, 503, 200)

# (PostgreSQL, Redis) -> what is presented -> status, once the lease has lapsed where it does.
# A store that is slow is to every deadline one that is silent: few combinations show that.
TABLE: Final[dict[Row, dict[Kind, int]]] = {
    (_UP, _UP): _ALL_KNOWN,
    (_UP, _REFUSED): _ALL_KNOWN,
    (_UP, _SILENT): _ALL_KNOWN,
    (_UP, _SLOW): _ALL_KNOWN,
    (_REFUSED, _UP): _REDIS_ALONE,
    (_SILENT, _UP): _REDIS_ALONE,
    (_SLOW, _UP): _REDIS_ALONE,
    (_REFUSED, _REFUSED): _NEITHER,
    (_REFUSED, _SILENT): _NEITHER,
    (_SILENT, _REFUSED): _NEITHER,
    (_SILENT, _SILENT): _NEITHER,
    (_SLOW, _SLOW): _NEITHER,
}


def rendered() -> str:
    """The table as docs/degradation.md shows it."""
    lines = [
        f"| PostgreSQL | Redis | {' | '.join(Kind)} |",
        "|---" * (2 + len(Kind)) + "|",
    ]
    for (postgres, redis), statuses in TABLE.items():
        cells = (str(statuses[kind]) for kind in Kind)
        lines.append(f"| {postgres} | {redis} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
