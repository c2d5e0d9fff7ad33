"""Limits of rates: whether a request may pass, and what its answer says of them.

Several may apply, and all have to allow. Nothing is taken from any when one refuses: whoever is
held up by one limit does not use up the others meanwhile.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11: ``RateLimit-Policy`` names what a
bucket gives (``q`` requests in ``w`` seconds), ``RateLimit`` what is left (``r``) and the seconds
within which no more than that can be used (``t``: until the next token).
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from sidecar.limit.buckets import Buckets
from sidecar.model.reason import Reason


class Per(StrEnum):
    """Whose requests are counted together."""

    ADDRESS = "address"
    PRINCIPAL = "principal"
    ROUTE = "route"


REASONS: Final = {
    Per.ADDRESS: Reason.ADDRESS_RATE_EXCEEDED,
    Per.PRINCIPAL: Reason.PRINCIPAL_RATE_EXCEEDED,
    Per.ROUTE: Reason.ROUTE_RATE_EXCEEDED,
}


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """One limit.

    Attributes:
        name: told to clients: letters, digits, `-`, `_` and `.`.
        per: whose requests are counted together.
        requests: that many come back...
        seconds: ...in this time.
        buckets: one for each address, principal or route.
    """

    name: str
    per: Per
    requests: int
    seconds: float
    buckets: Buckets

    def policy(self) -> str:
        """Its member of RateLimit-Policy. A window has whole seconds: round to what is slower."""
        return f'"{self.name}";q={self.requests};w={math.ceil(self.seconds)}'

    def left(self, key: Hashable, now: float) -> str:
        """Its member of RateLimit, for the bucket of `key`."""
        tokens = self.buckets.tokens(key, now)
        whole = math.floor(tokens + _ROUNDING)
        wait = max(0.0, whole + 1 - tokens) * self.seconds / self.requests
        return f'"{self.name}";r={whole};t={max(1, math.ceil(wait))}'


# Of a token; see `buckets`.
_ROUNDING: Final = 1e-3


# One limit that applies to a request, and the key of the request's bucket.
Charge = tuple[Limit, Hashable]


class Excess(NamedTuple):
    """A request that exceeds a limit.

    Attributes:
        limit: the one whose bucket fills last.
        seconds: until it would be let through, at least 1, if nobody else comes first.
        fields: of the answer, each ended by CRLF.
    """

    limit: Limit
    seconds: int
    fields: bytes


def take(charges: Sequence[Charge], now: float) -> Excess | None:
    """Take a token of each, at the monotonic instant `now`; or of none, and say which refuses."""
    for at, (limit, key) in enumerate(charges):
        if limit.buckets.take(key, now) > 0.0:
            for before, taken in charges[:at]:
                before.buckets.give_back(taken)
            return _excess(charges, now)
    return None


def _excess(charges: Sequence[Charge], now: float) -> Excess:
    """All the limits that refuse: whoever waits for the first alone would be refused again."""
    exceeded: list[tuple[float, Charge]] = []
    for limit, key in charges:
        wait = limit.buckets.take(key, now)
        if wait > 0.0:
            exceeded.append((wait, (limit, key)))
        else:
            limit.buckets.give_back(key)
    wait, (last, _) = max(exceeded, key=lambda pair: pair[0])
    fields = fields_of((charge for _, charge in exceeded), now)
    return Excess(last, max(1, math.ceil(wait)), fields)


def fields_of(charges: Iterable[Charge], now: float) -> bytes:
    """RateLimit and RateLimit-Policy for `charges`, each ended by CRLF."""
    listed = list(charges)
    policies = ", ".join(limit.policy() for limit, _ in listed)
    left = ", ".join(limit.left(key, now) for limit, key in listed)
    return f"RateLimit-Policy: {policies}\r\nRateLimit: {left}\r\n".encode("ascii")
