"""`stores`: PostgreSQL and Redis."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sidecar.settings.schema.base import Count, Positive, Settings


class Postgres(Settings, frozen=True):
    """The truth."""

    secrets: ClassVar[frozenset[str]] = frozenset({"dsn"})

    # `postgresql://user:password@host:port/database`, or libpq's key=value pairs. Secret.
    dsn: str
    # Connections kept open when nothing is asked; 0, because a fleet is large.
    pool_min: Annotated[int, Meta(ge=0)] = 0
    # Memory answers nearly everything; what it misses is short.
    pool_max: Count = 4
    # Waiting for a connection; then the stores count as unavailable. (503)
    pool_wait_seconds: Positive = 1.0
    # Requests that may wait for a connection; the next counts the stores as unavailable. (503)
    pool_waiting: Count = 64
    # PostgreSQL gives up a statement after this.
    statement_seconds: Positive = 1.0


class Redis(Settings, frozen=True):
    """The second level and the news. `null` in the file runs without it."""

    secrets: ClassVar[frozenset[str]] = frozenset({"url", "password", "sentinel_password"})

    # One server; a master that sentinels name; or a Cluster, whose nodes share the shards.
    topology: Literal["standalone", "sentinel", "cluster"] = "standalone"
    # For `standalone`, and required there: `redis://user:password@host:port/number`, `rediss://`
    # for TLS, `unix:///path`. Secret.
    url: str = ""
    # For `sentinel` the sentinels, for `cluster` a few of its nodes, each `host:port`. The rest is
    # found out from them, so name several: one of them has to be up.
    nodes: tuple[str, ...] = ()
    # For `sentinel`: the name under which the sentinels know the master.
    service: str | None = None
    # For `sentinel` and `cluster`: the user at the servers; without one, the default user.
    username: str | None = None
    # For `sentinel` and `cluster`: the password at the servers. Secret.
    password: str | None = None
    # For `sentinel`: the password at the sentinels themselves, where they ask for one. Secret.
    sentinel_password: str | None = None
    # For `sentinel` and `cluster`: TLS to all of them, with certificates that this machine trusts.
    tls: bool = False
    # For `sentinel`: the number of the database; a Cluster has only this one.
    database: Annotated[int, Meta(ge=0, le=9999)] = 0
    # Beyond this PostgreSQL is asked: waiting for the cache must cost less than missing it.
    command_seconds: Positive = 0.25
    connect_seconds: Positive = 0.5
    # To each server. A command takes well under a millisecond, so few are enough.
    connections: Count = 8
    # Prefix of every key and channel.
    prefix: str = "sc"
    # How long a master that was cut off may still accept writes, with `min-replicas-max-lag 2`:
    # an acknowledgement as `applied` waits until the present epoch is older than this and a lease.
    isolation_seconds: Positive = 4.0


class Stores(Settings, frozen=True):
    """Where facts come from."""

    postgres: Postgres
    # Without it every sidecar reads what it misses from PostgreSQL.
    redis: Redis | None = None
    # Loading what a decision misses, all tiers together. (503)
    load_seconds: Positive = 0.3
