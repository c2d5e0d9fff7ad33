"""`upstreams`: the services that are protected."""

from typing import Annotated

from msgspec import Meta

from sidecar.settings.schema.base import Count, Positive, Settings


class UpstreamTls(Settings, frozen=True):
    """TLS with an upstream. Its certificate is always verified; files as of `listen.tls`.

    Attributes:
        ca: PEM file: who signs its certificate; left out, those whom this machine trusts.
        server_name: the name its certificate must have; left out, the host of `url`.
        certificate: PEM file: the certificate that we present, where it asks for one.
        key: PEM file: the private key of `certificate`.
    """

    ca: str | None = None
    server_name: str | None = None
    certificate: str | None = None
    key: str | None = None
    # As of listen.tls.
    reload_seconds: Positive = 10.0


class Breaker(Settings, frozen=True):
    """When an upstream that keeps failing is left alone (503 at once), and for how long.

    A failure is: no connection, no answer in time, a malformed one, or none at all.

    Attributes:
        statuses: answers that count as failures, too, such as 502 or 503. None by default: an
            application that answers is there, and its errors are its own.
    """

    # In a row. At once after one failure would be a reaction to chance.
    failures: Count = 5
    # Or this share of the requests of the last `window_seconds`...
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    # ...where there were at least so many.
    least_requests: Count = 20
    # Long enough for a share to mean something, short enough to be about now.
    window_seconds: Positive = 10.0
    # Then nothing is sent for so long (a quarter more or less, by chance); one request tries...
    open_seconds: Positive = 1.0
    # ...and if it fails, too, twice as long, at most this.
    longest_open_seconds: Positive = 30.0
    statuses: tuple[Annotated[int, Meta(ge=500, le=599)], ...] = ()


class Upstream(Settings, frozen=True):
    """An application we stand before.

    Attributes:
        url: ``http://host:port``, ``https://host:port`` or ``unix:/path``. A path after the port
            is an error: what was authorized is forwarded as it is.
    """

    url: str
    # For https.
    tls: UpstreamTls | None = None
    # Beside us on the same host; a second is generous.
    connect_seconds: Positive = 1.0
    # From the end of the request to the end of the response's head. (504)
    head_seconds: Positive = 30.0
    # Between two reads of a response's body; event streams should send comments.
    body_idle_seconds: Positive = 300.0
    # Below the keep-alive of common servers (Node 5 s, uvicorn 5 s, gunicorn 2 s): a POST is
    # never replayed, so a connection that may be closing must not be used.
    # `Keep-Alive: timeout=...` of the upstream shortens it.
    idle_seconds: Positive = 1.5
    # A connection older than this is not used again: where a name leads elsewhere now, or another
    # instance came up behind it, a connection that never rests would not notice.
    connection_seconds: Positive = 300.0
    # Connections to it; a request waits for a free one at most `queue_seconds`. (503)
    connections: Count = 256
    queue_seconds: Positive = 5.0
    # Requests that may wait for a connection; the next is refused at once. (503)
    queue: Annotated[int, Meta(ge=0)] = 1024
    # The longest head of a response. (502)
    head_bytes: Count = 65_536
    # Host as the client sent it, or the upstream's own.
    keep_host: bool = True
    # `null` is none: where there is but one application to ask, trying is better than guessing
    # that it is still down (docs/limits.md).
    breaker: Breaker | None = None
