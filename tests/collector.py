"""A collector of spans: OTLP over HTTP, read with the protocol's own messages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass
class Seen:
    """A span as it arrived; ids are hexadecimal, `parent` is ``""`` for none."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    begun_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[tuple[str, str]]
    error: str | None
    resource: dict[str, Any]


@dataclass
class Collector:
    """What arrived.

    Attributes:
        url: the endpoint.
        spans: in the order of their arrival.
        bodies: the octets of each export.
        fields: of each export.
        statuses: with which the next exports are answered; 200 after that.
        rejects: spans that an answer says were not taken.
        released: cleared, exports wait for it.
    """

    url: str = ""
    spans: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    location: str = ""
    rejects: int = 0
    asked: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked += 1
        await self.released.wait()
        self.fields.append({name.lower(): value for name, value in request.headers.items()})
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            more = {"Location": self.location} if self.location else {}
            return web.Response(status=status, text="no", headers=more)
        self.bodies.append(body)
        self.spans += spans_of(body)
        answer = ExportTraceServiceResponse()
        if self.rejects:
            answer.partial_success.rejected_spans = self.rejects
        return web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf")

    async def until(self, condition: Callable[[list[Seen]], bool]) -> list[Seen]:
        """All spans, once `condition` holds of them (at most ten seconds)."""
        async with asyncio.timeout(10):
            while not condition(self.spans):
                await asyncio.sleep(0.01)
        return self.spans

    async def named(self, name: str, count: int = 1) -> list[Seen]:
        """The spans of this name, once there are so many."""
        await self.until(lambda spans: sum(span.name == name for span in spans) >= count)
        return [span for span in self.spans if span.name == name]


def spans_of(body: bytes) -> list[Seen]:
    """The spans of one export."""
    return [
        _seen(span, _attributes(of_resource.resource.attributes))
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _seen(span: Span, resource: dict[str, Any]) -> Seen:
    return Seen(
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        [(each.name, _attributes(each.attributes)) for each in span.events],
        [(each.trace_id.hex(), each.span_id.hex()) for each in span.links],
        span.status.message if span.status.code == 2 else None,
        resource,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, str(kind))


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """A collector on a free port."""
    made = Collector()
    made.released.set()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    try:
        yield made
    finally:
        made.released.set()
        await runner.cleanup()
