"""`tracing`: which requests are told to a collector, and what that may cost."""

from typing import Annotated, ClassVar

from msgspec import Meta, field

from sidecar.settings.schema.base import Positive, Settings


class Tracing(Settings, frozen=True):
    """Traces for an OpenTelemetry collector (docs/operations.md). OTEL_* variables are not read.

    Attributes:
        endpoint: where spans go by OTLP over HTTP, with the path, e.g.
            ``http://127.0.0.1:4318/v1/traces``; left empty, nothing is recorded.
        refusals: whether refused requests are always kept, within `spans_per_second`.
        faults: whether those that end with 5xx are.
        service: `service.name`: what traces call this sidecar.
        resource: more about it, e.g. ``deployment.environment.name: production``.
        headers: sent along, e.g. ``Authorization: "Bearer ${file:/run/secrets/otlp}"``. Secret.
        ca: PEM file: who signs the collector's certificate; left out, those whom this
            machine trusts.
    """

    secrets: ClassVar[frozenset[str]] = frozenset({"headers"})

    endpoint: str = ""
    # Of all traces, by their ids: sidecars in a row keep the same ones. A request that is kept has
    # two or three spans.
    ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    # Whatever callers ask for and however many are refused: a span costs about 70 us, so this is a
    # seventieth of a core. What exceeds it is counted.
    spans_per_second: Annotated[int, Meta(ge=1, le=10_000)] = 200
    refusals: bool = True
    faults: bool = True
    # One export, repetitions included.
    timeout_seconds: Positive = 5.0
    # Spans go together, this often, or as soon as there are 64.
    flush_seconds: Annotated[float, Meta(gt=0, le=60)] = 1.0
    # Spans that wait for a collector, about 1.5 KB each; what comes after them is lost and counted.
    queue: Annotated[int, Meta(ge=64, le=100_000)] = 2048
    service: Annotated[str, Meta(min_length=1)] = "sidecar"
    resource: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ca: str | None = None
