"""Every metric: name, kind, help, labels. What is exported is declared here and nowhere else."""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One exported metric.

    Attributes:
        name: as scraped, unit included (Prometheus naming).
        kind: counter, gauge or histogram.
        help: one sentence.
        labels: label names.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


REQUESTS: Final = Metric(
    "sidecar_requests",
    "counter",
    "Requests by route, reason of the decision or failure, and status of the answer.",
    ("route", "reason", "status"),
)
REQUEST_SECONDS: Final = Metric(
    "sidecar_request_seconds",
    "histogram",
    "Time from the complete head to the last byte of the response.",
    ("route",),
)
BYTES: Final = Metric(
    "sidecar_body_bytes",
    "counter",
    "Payload relayed, by direction.",
    ("direction",),
)
LOADS: Final = Metric(
    "sidecar_loads",
    "counter",
    "Facts a decision missed in memory, by kind and by the tier that had them.",
    ("kind", "tier"),
)
CLIENT_CONNECTIONS: Final = Metric(
    "sidecar_client_connections", "gauge", "Client connections now open."
)
CLIENT_REFUSED: Final = Metric(
    "sidecar_client_connections_refused",
    "counter",
    "Client connections closed at once because there were too many.",
)
BUFFERED_BYTES: Final = Metric(
    "sidecar_buffered_bytes",
    "gauge",
    "Octets of all clients that wait in memory, each connection as it told last.",
)
BUFFERED_BYTES_BOUND: Final = Metric(
    "sidecar_buffered_bytes_bound", "gauge", "How many may: beyond it connections are shed."
)
CLIENT_SHED: Final = Metric(
    "sidecar_client_connections_shed",
    "counter",
    "Client connections that were cut because too much waited in memory, by what they kept there.",
    ("kept",),
)
CLIENT_FAILED: Final = Metric(
    "sidecar_client_connections_failed",
    "counter",
    "Client connections that ended before a request could be read, by cause.",
    ("cause",),
)
ACCEPT_PAUSES: Final = Metric(
    "sidecar_accept_pauses",
    "counter",
    "Times that there was no file descriptor or memory for another client connection.",
)
TLS_RELOADED: Final = Metric(
    "sidecar_tls_reloaded", "counter", "Times that files of TLS changed and were taken."
)
TLS_RELOAD_FAILED: Final = Metric(
    "sidecar_tls_reload_failed",
    "counter",
    "Times that files of TLS changed and were no good: what was before is still used.",
)
TLS_EXPIRY: Final = Metric(
    "sidecar_tls_certificate_expiry_timestamp_seconds",
    "gauge",
    "Wall-clock end of the first of our own certificates to end, in seconds since the epoch.",
)
WORKER_STARTS: Final = Metric(
    "sidecar_worker_starts", "counter", "Times that a worker was started, by worker.", ("worker",)
)
WEBSOCKETS: Final = Metric("sidecar_websockets", "gauge", "WebSockets now open.")
LIVES: Final = Metric(
    "sidecar_lives",
    "gauge",
    "Connections whose permission is looked at again and again: WebSockets and long responses.",
)
WEBSOCKET_MESSAGES: Final = Metric(
    "sidecar_websocket_messages",
    "counter",
    "Messages by who sent them, what became of them, and route: relayed, the labels of refusals by "
    "message rules, reauthenticated, reauthentication-refused.",
    ("direction", "outcome", "route"),
)
WEBSOCKET_BYTES: Final = Metric(
    "sidecar_websocket_bytes",
    "counter",
    "Octets of WebSockets, framing included, by who sent them, and route.",
    ("direction", "route"),
)
WEBSOCKET_CLOSES: Final = Metric(
    "sidecar_websocket_closes",
    "counter",
    "WebSockets that ended, by cause, close code of the client (1006 for none) and route.",
    ("cause", "code", "route"),
)
WEBSOCKET_JUDGING: Final = Metric(
    "sidecar_websocket_judging_seconds",
    "histogram",
    "How long message rules took for a message, loading what they lacked not counted.",
)
WEBSOCKET_LAG: Final = Metric(
    "sidecar_websocket_lag_seconds",
    "histogram",
    "Time from publishing a change to ending a connection for it. It compares two wall clocks.",
)
RESPONSES_ENDED: Final = Metric(
    "sidecar_responses_ended",
    "counter",
    "Responses under way that were broken off because they were no longer permitted, by reason.",
    ("reason",),
)
UPSTREAM_CONNECTIONS: Final = Metric(
    "sidecar_upstream_connections",
    "gauge",
    "Connections to upstreams, by state.",
    ("upstream", "state"),
)
UPSTREAM_BREAKER: Final = Metric(
    "sidecar_upstream_breaker",
    "gauge",
    "Circuit breakers of upstreams: 0 closed, 1 half-open, 2 open.",
    ("upstream",),
)
HANDSHAKE_BREAKER: Final = Metric(
    "sidecar_upstream_handshake_breaker",
    "gauge",
    "Circuit breakers of upstreams for handshakes of WebSockets: 0 closed, 1 half-open, 2 open.",
    ("upstream",),
)
UNDER_WAY: Final = Metric(
    "sidecar_requests_under_way", "gauge", "Requests under way, where limits are configured."
)
UPSTREAM_EVENTS: Final = Metric(
    "sidecar_upstream_events",
    "counter",
    "What happened to connections to upstreams.",
    ("upstream", "event"),
)
CACHE_ENTRIES: Final = Metric(
    "sidecar_cache_entries", "gauge", "Entries in memory, by region.", ("region",)
)
CACHE_LOOKUPS: Final = Metric(
    "sidecar_cache_lookups",
    "counter",
    "Look-ups in memory, by region and result.",
    ("region", "result"),
)
CACHE_EVICTIONS: Final = Metric(
    "sidecar_cache_evictions", "counter", "Entries evicted from memory, by region.", ("region",)
)
ENTRY_SECONDS: Final = Metric(
    "sidecar_entry_lifetime_seconds",
    "gauge",
    "How long facts are kept now before they are read anew, by kind: it follows their changes.",
    ("kind",),
)
LEASE_VALID: Final = Metric(
    "sidecar_lease_valid",
    "gauge",
    "1 while the news of changes is known to flow and all of memory may be used.",
)
SHARDS_LEASED: Final = Metric(
    "sidecar_shards_leased",
    "gauge",
    "Shards (of 16) whose part of memory may be used.",
)
SHARDS_SUSPECT: Final = Metric(
    "sidecar_shards_suspect",
    "gauge",
    "Shards (of 16) that Redis could not vouch for at the last heartbeat it answered.",
)
NEWS_LAG: Final = Metric(
    "sidecar_news_lag_seconds",
    "histogram",
    "Time from publishing a change to applying it here; replays are not counted. It compares two "
    "wall clocks: what a skew would make negative counts as 0.",
)
NEWS_GAP: Final = Metric(
    "sidecar_news_gap",
    "gauge",
    "Changes that were published and not yet applied without a gap, in the shard that lacks most.",
)
RESYNCS: Final = Metric(
    "sidecar_resyncs",
    "counter",
    "What heartbeats showed beside an unbroken stream of news, by cause.",
    ("cause",),
)
CHANGES_APPLIED: Final = Metric(
    "sidecar_changes_applied", "counter", "Changes of facts applied to memory."
)
READS: Final = Metric(
    "sidecar_reads",
    "counter",
    "Reads of facts by what came of them: the tier that answered, refreshed, doomed, failed; and "
    "of fills of Redis: fill-failed, fill-refused-<cause>.",
    ("outcome",),
)
FACTS_WARMED: Final = Metric(
    "sidecar_facts_warmed", "gauge", "Facts loaded at the start because siblings use them most."
)
FACTS_WANTED: Final = Metric(
    "sidecar_facts_wanted", "gauge", "Facts that were to be loaded at the start."
)
WARMING_SECONDS: Final = Metric(
    "sidecar_warming_seconds", "gauge", "How long loading them took; 0 while it goes on."
)
READS_AHEAD: Final = Metric(
    "sidecar_reads_ahead",
    "counter",
    "Reads that nobody waited for when they began, by occasion: prediction, sign-in, change; what "
    "became of predictions: prediction-used, prediction-unused; and refused-budget.",
    ("event",),
)
FACTS_CHECKED: Final = Metric(
    "sidecar_facts_checked", "counter", "Facts in memory compared with PostgreSQL."
)
FACTS_STALE: Final = Metric(
    "sidecar_facts_stale",
    "counter",
    "Facts in memory found older than a lease allows: each is a fault worth an alarm.",
)
ADMIN_CALLS: Final = Metric(
    "sidecar_admin_calls",
    "counter",
    "Calls of the admin API, by the level they reached or the error they ended with.",
    ("outcome",),
)
AUDIT_DROPPED: Final = Metric(
    "sidecar_audit_dropped",
    "counter",
    "Audit records lost because their sink did not keep up.",
)
SPANS: Final = Metric(
    "sidecar_spans",
    "counter",
    "Spans by what became of them: exported, failed, over-rate, queue-full, late.",
    ("outcome",),
)

# Spans. What OpenTelemetry names is named as there (HTTP semantic conventions, stable since 1.23);
# what is ours begins with `sidecar.`.
LOAD_SPAN: Final = "load facts"
CONNECTION_SPAN: Final = "websocket"
# Where the method is none that is known, so that names stay few.
OTHER_METHOD: Final = "_OTHER"
OTHER_SPAN: Final = "HTTP"

# Attributes of OpenTelemetry's.
METHOD: Final = "http.request.method"
METHOD_ORIGINAL: Final = "http.request.method_original"
RESEND_COUNT: Final = "http.request.resend_count"
REQUEST_BYTES: Final = "http.request.body.size"
RESPONSE_BYTES: Final = "http.response.body.size"
STATUS: Final = "http.response.status_code"
TEMPLATE: Final = "http.route"
SCHEME: Final = "url.scheme"
PATH: Final = "url.path"
URL: Final = "url.full"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
PROTOCOL_VERSION: Final = "network.protocol.version"
ERROR_TYPE: Final = "error.type"
SUBJECT: Final = "enduser.id"
# Attributes of ours.
REQUEST_ID: Final = "sidecar.request_id"
ROUTE: Final = "sidecar.route"
OUTCOME: Final = "sidecar.outcome"
REASON: Final = "sidecar.reason"
DECIDED_BY: Final = "sidecar.decided_by"
VIA: Final = "sidecar.via"
TENANT: Final = "sidecar.tenant"
SESSION: Final = "sidecar.session"
UPSTREAM: Final = "sidecar.upstream"
CLOSED: Final = "sidecar.closed"
CLOSE_CODE: Final = "sidecar.close_code"
MESSAGES_IN: Final = "sidecar.messages_in"
MESSAGES_OUT: Final = "sidecar.messages_out"
BYTES_IN: Final = "sidecar.bytes_in"
BYTES_OUT: Final = "sidecar.bytes_out"
MESSAGES_JUDGED: Final = "sidecar.messages_judged"
MESSAGES_REFUSED: Final = "sidecar.messages_refused"
JUDGING_SECONDS: Final = "sidecar.judging_seconds"
JUDGING_MEAN_SECONDS: Final = "sidecar.judging_mean_seconds"
FACT: Final = "sidecar.fact"
TIER: Final = "sidecar.tier"
SECONDS: Final = "sidecar.seconds"
DIRECTION: Final = "sidecar.direction"
LABEL: Final = "sidecar.label"

# Events.
LOADED: Final = "loaded"
BROKEN_OFF: Final = "response broken off"
MESSAGE_REFUSED: Final = "message refused"
REAUTHENTICATED: Final = "reauthenticated"
REAUTHENTICATION_REFUSED: Final = "reauthentication refused"
CONNECTION_CLOSED: Final = "closed"
SENT: Final = "sent"
ANSWERED: Final = "answered"
# What a link stands for.
LINK: Final = "sidecar.link"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.29.0"
