"""Traces, wired: where there is an endpoint, and only there, the SDK is loaded."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sidecar import __version__
from sidecar.audit.traces import Traces
from sidecar.settings.address import TcpAddress, is_tls, parse_upstream
from sidecar.settings.schema import Root
from sidecar.telemetry import names
from sidecar.telemetry.propagation import Propagation
from sidecar.telemetry.request_spans import Target
from sidecar.telemetry.sampling import Budget

if TYPE_CHECKING:
    from sidecar.telemetry.export import Exporter

# What is left at the end may still be sent for so long; a collector that hangs holds nobody up.
_FLUSH_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Tracer:
    """What the parts need of it.

    Attributes:
        propagation: knows the trace of each request.
        traces: keeps spans; None where nothing is recorded.
        tables: what is exported of it as metrics.
    """

    propagation: Propagation
    traces: Traces | None
    tables: list[tuple[names.Metric, Callable[[], Mapping[tuple[str, ...], int]]]]


def preload(root: Root) -> None:
    """Load the SDK before workers are forked, if they will need it: they share it then."""
    if root.tracing.endpoint:
        importlib.import_module("sidecar.telemetry.export")


@asynccontextmanager
async def tracing(root: Root) -> AsyncIterator[Tracer]:
    """Record and export as long as the context lasts, and a second longer."""
    mode, settings = root.forwarded.traceparent, root.tracing
    if not settings.endpoint:
        yield Tracer(Propagation(mode), None, [])
        return
    from sidecar.telemetry.export import Exporter  # noqa: PLC0415 - 7 MB and 0.3 s that most do not need

    budget = Budget(settings.spans_per_second)
    propagation = Propagation(mode, settings.ratio, budget)
    exporter = Exporter(settings, __version__)
    traces = Traces(propagation, settings, budget, exporter, _targets(root))
    try:
        yield Tracer(propagation, traces, [(names.SPANS, lambda: _counts(exporter, budget))])
    finally:
        await asyncio.to_thread(exporter.close, _FLUSH_SECONDS)


def _counts(exporter: "Exporter", budget: Budget) -> dict[tuple[str, ...], int]:
    counts = {**exporter.counts, "over-rate": budget.refused}
    return {(outcome,): count for outcome, count in counts.items()}


def _targets(root: Root) -> dict[str, Target]:
    targets = {}
    for name, upstream in root.upstreams.items():
        address = parse_upstream(upstream.url)
        if isinstance(address, TcpAddress):
            base = f"{'https' if is_tls(upstream.url) else 'http'}://{address}"
            targets[name] = Target(name, address.host, address.port, base)
        else:
            targets[name] = Target(name, address.path, None, "")
    return targets
