"""What pages of other sites may do with a route (CORS; Fetch standard, "CORS protocol")."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cors:
    """A route's policy.

    Attributes:
        origins: that may read answers, as browsers write them; ``*`` for any page, which then gets
            nothing that takes a credential to see.
        methods: that may be asked for; empty means those of the route.
        headers: names of fields, lower case, that pages may set beyond what they always may.
        exposed: names of fields of answers that pages may read beyond what they always may.
        credentials: whether browsers send cookies and certificates along.
        max_age_seconds: how long browsers need not ask again.
    """

    origins: frozenset[str]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    credentials: bool = False
    max_age_seconds: int = 0
