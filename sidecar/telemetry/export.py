"""Spans on their way to a collector: OTLP over HTTP, from a thread of their own.

Imported only where an endpoint is set: the SDK costs a start time and memory. Spans are handed to
the SDK's batch processor as they are; what it exports it takes from a bounded queue, in small
batches, so that encoding (72 us each, under the interpreter's lock) never holds the loop for long.
Whatever the collector does happens in that thread: spans are lost, and counted.

The environment of OpenTelemetry (OTEL_EXPORTER_OTLP_*, OTEL_BSP_*, OTEL_RESOURCE_ATTRIBUTES) is not
read, nor that of requests (proxies, .netrc): in a pod it is often the application's. A setting may
name a variable.
"""

import logging
import secrets
import ssl
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from sidecar.clock import stopwatch
from sidecar.settings.schema import Tracing
from sidecar.telemetry import names, spans
from sidecar.telemetry.context import RANDOM, SAMPLED
from sidecar.telemetry.deadline import bound_answers

_LOG: Final = logging.getLogger(__name__)
# 5 ms of encoding, which is what the interpreter lets a thread run for when others wait.
_BATCH: Final = 64
_LOG_SECONDS: Final = 60.0
# The rest of an answer, whatever it is, is not read.
_MOST_ANSWER_BYTES: Final = 65_536
_OUTCOMES: Final = ("exported", "failed", "queue-full", "late")
_CONTENT_TYPE: Final = "application/x-protobuf"
_KINDS: Final = {
    spans.Kind.SERVER: SpanKind.SERVER,
    spans.Kind.CLIENT: SpanKind.CLIENT,
    spans.Kind.INTERNAL: SpanKind.INTERNAL,
}
_UNSET: Final = Status(StatusCode.UNSET)


class CollectorError(Exception):
    """The collector answered in no way that takes spans."""


class _Calls(requests.Session):
    """Calls of one collector: with our fields and nobody else's, and little of each answer read.

    Args:
        fields: sent with each call; some are secret.
        ca: file of the authorities whose certificates are believed; None for those whom this
            machine trusts.

    Attributes:
        fault: what was wrong with the last call; ``""`` for nothing.
        rejected: spans of the last call that the collector did not take.
    """

    def __init__(self, fields: Mapping[str, str], ca: str | None) -> None:
        super().__init__()
        self.trust_env = False
        bound_answers(self)
        self.fault = ""
        self.rejected = 0
        self._fields = {**fields, "Content-Type": _CONTENT_TYPE}
        # Not those that come with requests: the rest of us believes whom the machine believes.
        self._ca: str | bool = ca or ssl.get_default_verify_paths().cafile or True

    def request(self, method: str, url: str, **more: Any) -> requests.Response:  # type: ignore[override]  # the exporter gives these two by name
        """As its base; a redirection is an error, for what it led to was never told the spans.

        Raises:
            CollectorError: the answer is no answer to spans.
            requests.RequestException: there was none.
        """
        self.rejected = 0
        try:
            answer, octets = self._ask(method, url, more.get("data"), more.get("timeout"))
        except Exception as error:
            self.fault = type(error).__name__
            raise
        self.fault = "" if answer.status_code == 200 else f"status {answer.status_code}"
        if 300 <= answer.status_code < 400:
            raise CollectorError(self.fault)
        if answer.status_code == 200:
            self.rejected = _rejected(octets)
        return answer

    def _ask(
        self, method: str, url: str, octets: bytes | None, seconds: float | None
    ) -> tuple[requests.Response, bytes]:
        with super().request(
            method,
            url,
            headers=self._fields,
            data=octets,
            timeout=seconds,
            allow_redirects=False,
            stream=True,
            verify=self._ca,
        ) as answer:
            return answer, answer.raw.read(_MOST_ANSWER_BYTES, decode_content=False)


def _rejected(octets: bytes) -> int:
    """Spans that an answer says were not taken (OTLP, partial success)."""
    try:
        answer = ExportTraceServiceResponse.FromString(octets)
    except Exception:  # noqa: BLE001 - whatever it is, it says nothing about spans
        return 0
    return int(answer.partial_success.rejected_spans)


class _Counting(SpanExporter):
    """Counts what becomes of spans, and says once in a while why some are lost."""

    def __init__(self, exporter: OTLPSpanExporter, calls: _Calls, counts: Counter[str]) -> None:
        self._exporter = exporter
        self._calls = calls
        self._counts = counts
        self._told_at: float | None = None
        self._untold = 0
        self.taken = 0

    def export(self, batch: Sequence[sdk.ReadableSpan]) -> SpanExportResult:
        """opentelemetry: send them; in the exporter's thread."""
        self.taken += len(batch)
        result = self._exporter.export(batch)
        lost = len(batch) if result is not SpanExportResult.SUCCESS else self._calls.rejected
        self._counts["exported"] += len(batch) - lost
        if lost:
            self._counts["failed"] += lost
            self._tell(lost)
        return result

    def _tell(self, lost: int) -> None:
        self._untold += lost
        now = stopwatch()
        if self._told_at is None or now - self._told_at >= _LOG_SECONDS:
            self._told_at = now
            fault = self._calls.fault or "it did not take them"
            _LOG.warning("the collector lost %d spans: %s", self._untold, fault)
            self._untold = 0

    def shutdown(self) -> None:
        """opentelemetry: nothing more will come."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations


class Exporter:
    """Takes spans, and sends them.

    Args:
        settings: where to, and how many may wait.
        version: ours.

    Attributes:
        counts: spans by what became of them: ``exported``, ``failed``, ``queue-full``, ``late``.
    """

    def __init__(self, settings: Tracing, version: str) -> None:
        # All of them from the beginning: metrics are read while the thread counts.
        self.counts: Counter[str] = Counter(dict.fromkeys(_OUTCOMES, 0))
        self._most = settings.queue
        self._handed = 0
        self._is_closed = False
        self._resource = Resource(
            {
                **settings.resource,
                "service.name": settings.service,
                "service.version": version,
                # Workers, and sidecars of one deployment, are told apart by it.
                "service.instance.id": secrets.token_hex(16),
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.version": sdk_version,
            }
        )
        self._scope = InstrumentationScope("sidecar", version, names.SCHEMA_URL)
        # What goes wrong is told by `_Counting`, once a minute and without addresses.
        libraries = logging.getLogger("opentelemetry")
        libraries.addHandler(logging.NullHandler())
        libraries.propagate = False
        calls = _Calls(settings.headers, settings.ca)
        exporter = OTLPSpanExporter(
            endpoint=settings.endpoint,
            timeout=settings.timeout_seconds,
            compression=Compression.NoCompression,
            session=calls,
        )
        self._counting = _Counting(exporter, calls, self.counts)
        self._processor = BatchSpanProcessor(
            self._counting,
            max_queue_size=settings.queue,
            schedule_delay_millis=settings.flush_seconds * 1000,
            max_export_batch_size=min(_BATCH, settings.queue),
            export_timeout_millis=settings.timeout_seconds * 1000,
        )

    def add(self, kept: Sequence[spans.Span]) -> None:
        """Send these soon; where too many wait, they are lost."""
        if self._is_closed:
            self.counts["late"] += len(kept)
        elif self._handed - self._counting.taken + len(kept) > self._most:
            self.counts["queue-full"] += len(kept)
        else:
            self._handed += len(kept)
            for span in kept:
                self._processor.on_end(self._readable(span))

    def close(self, seconds: float) -> bool:
        """Send what waits, for so long at most; tells whether all was sent, or failed.

        Blocks. The thread is a daemon: where the collector hangs, the process ends without it.
        """
        self._is_closed = True
        closing = threading.Thread(target=self._processor.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(seconds)
        if closing.is_alive():
            # What is repeated now and then is not repeated any more.
            self._counting.shutdown()
        left = self._handed - self._counting.taken
        if left:
            self.counts["late"] += left
        return not closing.is_alive() and not left

    def _readable(self, span: spans.Span) -> sdk.ReadableSpan:
        parent = None
        if span.parent_id:
            parent = SpanContext(span.trace_id, span.parent_id, span.is_parent_remote)
        return sdk.ReadableSpan(
            span.name,
            # The processor passes by what is not sampled; that others were told otherwise, before
            # it was known how this would end, changes nothing about its being recorded.
            SpanContext(span.trace_id, span.span_id, False, TraceFlags(SAMPLED | RANDOM)),
            parent,
            self._resource,
            span.attributes,
            [sdk.Event(each.name, each.attributes, each.at_ns) for each in span.events],
            [_link(each) for each in span.links],
            _KINDS[span.kind],
            status=_UNSET if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=span.begun_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self._scope,
        )


def _link(link: spans.Link) -> Link:
    flags = TraceFlags(SAMPLED if link.is_sampled else 0)
    return Link(SpanContext(link.trace_id, link.span_id, False, flags), link.attributes)
