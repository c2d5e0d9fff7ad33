"""`listen`: where clients connect, and what one of them may ask of us."""

from typing import Annotated, Literal

from msgspec import Meta, field

from sidecar.settings.schema.base import Count, Positive, Settings


class Limits(Settings, frozen=True):
    """What one client may ask of us. Beyond: the status in brackets."""

    # Cookies of large applications reach 16 KiB; nginx allows 4 x 8 KiB. (431)
    head_bytes: Annotated[int, Meta(ge=1024, le=1_048_576)] = 32_768
    # RFC 9110 section 4.1 asks for at least 8 000 octets. (414)
    target_bytes: Annotated[int, Meta(ge=256, le=65_536)] = 8_192
    # Browsers send 15 to 30 fields. (431)
    fields: Count = 100
    # 0 is unlimited: bodies are streamed, their size costs no memory. (413)
    body_bytes: Annotated[int, Meta(ge=0)] = 0
    # Bytes of chunk framing for each chunk: a size, extensions we drop. (431)
    chunk_line_bytes: Count = 256
    # Trailers are read and dropped. (431)
    trailer_bytes: Count = 8_192
    # Open client connections; the next is closed at once.
    connections: Count = 10_000
    # Open WebSockets, each of which takes a connection to an upstream for itself; the next is
    # refused. (503)
    websockets: Count = 10_000
    # Pipelined requests wait unread beyond this many bytes.
    pipeline_bytes: Count = 65_536
    # A body that comes more slowly, over more than `body_idle_seconds`, holds a connection to the
    # upstream for next to nothing; Kestrel's figure. 0 bounds pauses only. (408)
    slowest_upload_bytes_per_second: Annotated[int, Meta(ge=0)] = 240
    # The same for who does not keep up with an answer. Kernels take 128 KiB and more in one piece
    # and are silent until the next: that much is let pass (docs/http.md). 0 waits for ever: only
    # the kernel ends such a connection then, when the client's host is gone.
    slowest_download_bytes_per_second: Annotated[int, Meta(ge=0)] = 240
    # All clients together: what waits in memory of their requests and answers. Beyond it those who
    # hold most are cut: a fast upload waits for a slow upstream, not in our memory. (503)
    buffered_bytes: Annotated[int, Meta(ge=1_048_576)] = 268_435_456


class Deadlines(Settings, frozen=True):
    """How long a client may take."""

    # From the accept to the end of the PROXY header and the TLS handshake.
    handshake_seconds: Positive = 5.0
    # From our end of a TLS connection to the client's: most clients never tell theirs.
    tls_shutdown_seconds: Positive = 2.0
    # From the first byte (or the accept) to the end of the head. (408)
    head_seconds: Positive = 10.0
    # Between two reads of a body. (408)
    body_idle_seconds: Positive = 30.0
    # Between two requests; above the usual 60 s of load balancers in front of us.
    keep_alive_seconds: Positive = 75.0
    # A client that does not read its answer is reset after this, but not before it is slower than
    # `slowest_download_bytes_per_second`; a WebSocket, one end of which does not read, after this.
    write_stall_seconds: Positive = 30.0
    # What is still coming after an early refusal is drained this long (RFC 9112 section 9.6).
    linger_seconds: Positive = 2.0
    # The same for a WebSocket, from one side's close frame to the other's (RFC 6455 section 7.1.1).
    close_seconds: Positive = 2.0
    # On SIGTERM: from turning unready to the first sign of ending. Load balancers that look at
    # /readyz should have noticed by then; 0 where nothing does.
    drain_delay_seconds: Annotated[float, Meta(ge=0)] = 0.0
    # After that: what is in flight may finish.
    drain_seconds: Positive = 25.0


class Tls(Settings, frozen=True):
    """TLS with clients. Relative file names start from the folder of the configuration.

    Attributes:
        certificate: PEM file: our certificate, then the intermediate ones.
        key: PEM file: its private key, without a passphrase.
        client_ca: PEM file: whose certificates of clients are believed.
        client_certificate: whether clients present one. ``optional`` leaves it to the routes
            (`routes[].credential`); with ``required`` nobody connects without.
    """

    certificate: str
    key: str
    client_ca: str | None = None
    client_certificate: Literal["off", "optional", "required"] = "off"
    # Older ones have known weaknesses (RFC 8996).
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    # How often the files are looked at, and loaded again where they changed; SIGHUP does it now.
    reload_seconds: Positive = 10.0


class Listen(Settings, frozen=True):
    """Where clients connect.

    Attributes:
        address: ``host:port``, ``[v6]:port`` or ``unix:/path``; port 0 takes a free one.
        proxy_protocol: ``required`` where a load balancer before us sends PROXY headers (versions
            1 and 2), which then tell the client's address.
        proxy_protocol_from: networks (CIDR, or ``unix``) of these load balancers; none given means
            those of `forwarded.trusted`. Connections from anywhere else are refused.
    """

    address: str = "127.0.0.1:8080"
    # Connections that the kernel keeps until we accept them; it caps this at somaxconn.
    backlog: Count = 1024
    limits: Limits = field(default_factory=Limits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    # Processes that serve, each with memory, pools and limits of its own (docs/operations.md). One
    # is enough for most: it decides in microseconds.
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    # A worker whose loop has not turned for so long is killed and started again.
    worker_hung_seconds: Annotated[float, Meta(ge=2)] = 10.0
    proxy_protocol: Literal["off", "required"] = "off"
    proxy_protocol_from: tuple[str, ...] = ()
    # `null` is plain HTTP: for where something before us ends TLS, or nobody else listens.
    tls: Tls | None = None
