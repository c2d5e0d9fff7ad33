"""`limits`: how much is let through, of each client and of all."""

from typing import Literal

from msgspec import field

from sidecar.settings.schema.base import Count, Positive, Settings


class Rate(Settings, frozen=True):
    """A limit of requests; the first one too many gets 429. Each sidecar counts for itself.

    Attributes:
        per: whose requests are counted together: ``address``, one client's (an IPv6 /64), before
            any credential is looked at; ``principal``, one user's or workload's, where it is known
            who asks; ``route``, all of a route.
        requests: that many...
        seconds: ...in this time.
        burst: that many at once, after a pause; left out, as many as `requests`.
    """

    per: Literal["address", "principal", "route"]
    requests: Count
    seconds: Positive = 1.0
    burst: Count | None = None


class Overload(Settings, frozen=True):
    """How much is let through.

    Attributes:
        rates: limits for all routes, by the name that clients are told; a route may have more.
    """

    rates: dict[str, Rate] = field(default_factory=dict)
    # Addresses or principals that each of them counts apart, about 0.2 KB each. When there are
    # more at a time, those that came last share some buckets; nobody's is forgotten for them.
    buckets: Count = 50_000
    # `RateLimit` and `RateLimit-Policy` stand in refusals, or in all answers.
    rate_fields: Literal["refusals", "always"] = "refusals"
    # Requests under way, all clients together; the next is refused at once. (503) By default as
    # many as connections (listen.limits.connections), each of which has one at a time.
    requests: Count = 10_000
