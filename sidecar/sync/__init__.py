"""Redis: the second cache level, and the news of changes; and the keys of issuers.

PostgreSQL commits a change with a sequence; `publisher` tells Redis, or `relay` does where the
publisher could not; `bus` hears of it in every sidecar and `follower` forgets what it concerns.
`tiers` loads what memory lacks: Redis, then PostgreSQL. SYNC in the design names the rules (R1-R13)
that these modules quote.
"""
