"""`cache` and `features`: what memory and Redis keep, and each optimisation's switch."""

from typing import Annotated

from msgspec import Meta

from sidecar.settings.schema.base import Count, Positive, Settings


class Cache(Settings, frozen=True):
    """Sizes of the regions of memory, in entries, and how long entries are used."""

    sessions: Count = 50_000
    tokens: Count = 50_000
    users: Count = 50_000
    # One for each tenant.
    role_graphs: Count = 1_000
    # Roles as users hold them, compiled; users with the same roles share one.
    role_sets: Count = 5_000
    # Answers that something does not exist; apart, so that floods evict nothing that does.
    negative: Count = 20_000
    # Bound on how old an entry may get, although every change is announced. Where lifetimes adapt
    # it is the one to begin with...
    entry_seconds: Positive = 60.0
    # ...then it is this where nearly all entries of a kind change before they are so old: a lost
    # message would matter most there...
    shortest_entry_seconds: Positive = 15.0
    # ...and this where nearly nothing changes: longer saves no reads worth mentioning.
    longest_entry_seconds: Positive = 300.0
    # How long "there is no such thing" is believed.
    negative_seconds: Positive = 3.0
    # Entries in Redis outlive those of memory: a restart finds them.
    redis_entry_seconds: Positive = 600.0
    # Memory is used only while the news from Redis is known to flow: this long after the last
    # proof of it (SYNC.md, lease).
    lease_seconds: Positive = 1.5
    # How often that proof is asked for; at most half of the lease.
    heartbeat_seconds: Positive = 0.5
    # At the start: what the other sidecars use most, loaded before traffic is taken...
    warm_entries: Annotated[int, Meta(ge=0)] = 10_000
    # ...within this time; what is not there by then is loaded when it is asked for.
    warm_seconds: Positive = 1.0
    # Clients are let in once this share of it is there; the rest follows within the same time.
    warm_ready_share: Annotated[float, Meta(ge=0, le=1)] = 1.0
    # Sessions of which it is remembered whose they are, also when they have left memory: their next
    # request loads session, user and roles at once. About 0.3 KB each.
    foresight: Count = 10_000
    # Loads that nobody waits for yet (predicted, after a sign-in, after a change), all together:
    # far below what the stores carry. Those that prove right are no more work, only earlier.
    anticipated_per_second: Count = 1000
    # What was in use and has changed is read anew within this time, at a moment that chance picks:
    # the sidecars of a fleet shall find in Redis what the first of them brought there.
    revalidate_seconds: Positive = 0.05


class Features(Settings, frozen=True):
    """Each optimisation can be turned off; the answers stay the same, only slower."""

    # Facts are kept in this process.
    memory_cache: bool = True
    # Facts are read from and written to Redis.
    redis_cache: bool = True
    # "There is no such thing" is remembered.
    negative_cache: bool = True
    # Requests that miss the same fact at the same time share one read.
    single_flight: bool = True
    # A start begins with what the other sidecars use most.
    warming: bool = True
    # What is in use is read anew before it expires, off the request path.
    refresh_ahead: bool = True
    # Sessions, users and role graphs are each kept the longer the more rarely they change.
    adaptive_lifetimes: bool = True
    # A session that memory lost is loaded together with its user and roles, not before them.
    prediction: bool = True
    # What was in use and has changed is read anew, off the request path.
    revalidation: bool = True
    # Who signs in finds its session, user and roles in memory.
    sign_in_warming: bool = True
    # The outcome for one principal, route and resource is remembered while nothing changes.
    decision_memo: bool = True
    # Upstreams that have a `breaker` are left alone when they keep failing. Of all flags the only
    # one that changes answers: 503 at once instead of 502 or 504 after a while.
    circuit_breaker: bool = True
