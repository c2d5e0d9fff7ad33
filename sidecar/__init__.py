"""Sidecar: an authorization proxy that runs beside each application.

The folders carry the words of a request's journey, in order::

    model         the nouns: heads, facts, routes, reasons, denials
    settings      the configuration as typed, immutable values
    telemetry     the names of every metric; counting and timing
    cache         bounded memory: S3-FIFO regions, freshness, single-flight
    parse         bytes of a request head -> RequestHead, or a Denial
    route         host, method and path -> the one route that applies
    authenticate  exactly one credential -> who is asking
    authorize     who, what, on which resource -> Permit or Denial
    limit         rates of requests, and upstreams that keep failing
    decide        the three above as one plain function
    store         PostgreSQL, where the truth is
    sync          Redis: the second cache level and the news of changes
    accounts      sessions and those who hold them
    forward       one exchange with the upstream
    relay         a WebSocket session
    audit         what was decided, written down
    gate          preflights and limits, before and after the decision
    pipeline      the life of a request, on one screen
    listen        connections of clients
    endpoints     our own HTTP applications
    inject        Kubernetes
    assembly      puts the concrete parts together
    embedded      PostgreSQL and Valkey from wheels, for trying out and for tests
    demo          an application that knows nothing of authorization
    cli           the commands

Imports run upward in this list only; ``make check`` holds that.
"""

__version__ = "0.1.0"
