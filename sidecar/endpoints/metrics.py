"""What is counted, in the Prometheus text format; assembled only when it is scraped."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from sidecar.telemetry import names
from sidecar.telemetry.meters import BOUNDS, Histogram, Meters


class PoolCounts(Protocol):
    """What a pool of upstream connections counts."""

    opened: int
    reused: int
    failed: int
    unsolicited: int
    waited: int
    tripped: int


class Pool(Protocol):
    """A pool of upstream connections."""

    @property
    def size(self) -> int:
        """All connections."""

    @property
    def idle(self) -> int:
        """Those at rest."""

    @property
    def statistics(self) -> PoolCounts:
        """What it counted."""


class RegionCounts(Protocol):
    """What a region of memory counts."""

    @property
    def entries(self) -> int:
        """Entries held."""

    @property
    def hits(self) -> int:
        """Look-ups that found."""

    @property
    def misses(self) -> int:
        """Look-ups that did not."""

    @property
    def evictions(self) -> int:
        """Entries that made room."""


class Metrics:
    """A collector over what the parts count.

    Args:
        meters: of requests.
        pools: by name of the upstream.
        regions: gives the counts of memory's regions by name.
        gauges: (metric without labels, its value now).
        counters: (metric with one label, its counts by that label).
        histograms: (metric without labels, its counts).
        levels: (gauge with one label, its values now by that label).
        tables: (counter with several labels, gives its counts by these).
    """

    def __init__(
        self,
        meters: Meters,
        pools: Mapping[str, Pool],
        regions: Callable[[], Mapping[str, RegionCounts]],
        gauges: Iterable[tuple[names.Metric, Callable[[], float]]],
        counters: Iterable[tuple[names.Metric, Mapping[str, int]]] = (),
        histograms: Iterable[tuple[names.Metric, Histogram]] = (),
        levels: Iterable[tuple[names.Metric, Callable[[], Mapping[str, float]]]] = (),
        tables: Iterable[tuple[names.Metric, Callable[[], Mapping[tuple[str, ...], int]]]] = (),
    ) -> None:
        self._meters = meters
        self._pools = pools
        self._regions = regions
        self._gauges = tuple(gauges)
        self._counters = tuple(counters)
        self._histograms = tuple(histograms)
        self._levels = tuple(levels)
        self._tables = tuple(tables)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def scrape(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Family]:
        """prometheus_client: all families."""
        yield from self._requests()
        yield from self._connections()
        yield from self._memory()
        for metric, value in self._gauges:
            if metric.kind == "counter":
                yield CounterMetricFamily(metric.name, metric.help, value=value())
            else:
                yield GaugeMetricFamily(metric.name, metric.help, value=value())
        for metric, counts in self._counters:
            family = _counter(metric)
            for label, count in counts.items():
                family.add_metric([label], count)
            yield family
        for metric, histogram in self._histograms:
            yield _histogram(metric, {(): histogram})
        for metric, table in self._tables:
            family = _counter(metric)
            for labels, count in table().items():
                family.add_metric(list(labels), count)
            yield family
        for metric, levels in self._levels:
            gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for label, level in levels().items():
                gauge.add_metric([label], level)
            yield gauge

    def _requests(self) -> Iterator[Family]:
        meters = self._meters
        requests = _counter(names.REQUESTS)
        for (route, reason, status), count in meters.requests.items():
            requests.add_metric([route, reason, str(status)], count)
        yield requests
        yield _histogram(
            names.REQUEST_SECONDS, {(route,): each for route, each in meters.seconds.items()}
        )
        octets = _counter(names.BYTES)
        octets.add_metric(["in"], meters.bytes_in)
        octets.add_metric(["out"], meters.bytes_out)
        yield octets
        loads = _counter(names.LOADS)
        for (kind, tier), count in meters.loads.items():
            loads.add_metric([kind, tier], count)
        yield loads

    def _connections(self) -> Iterator[Family]:
        states = GaugeMetricFamily(
            names.UPSTREAM_CONNECTIONS.name,
            names.UPSTREAM_CONNECTIONS.help,
            labels=names.UPSTREAM_CONNECTIONS.labels,
        )
        events = _counter(names.UPSTREAM_EVENTS)
        for name, pool in self._pools.items():
            states.add_metric([name, "idle"], pool.idle)
            states.add_metric([name, "busy"], pool.size - pool.idle)
            counts = pool.statistics
            for event in ("opened", "reused", "failed", "unsolicited", "waited", "tripped"):
                events.add_metric([name, event], getattr(counts, event))
        yield states
        yield events

    def _memory(self) -> Iterator[Family]:
        entries = GaugeMetricFamily(
            names.CACHE_ENTRIES.name, names.CACHE_ENTRIES.help, labels=names.CACHE_ENTRIES.labels
        )
        lookups = _counter(names.CACHE_LOOKUPS)
        evictions = _counter(names.CACHE_EVICTIONS)
        for region, counts in self._regions().items():
            entries.add_metric([region], counts.entries)
            lookups.add_metric([region, "hit"], counts.hits)
            lookups.add_metric([region, "miss"], counts.misses)
            evictions.add_metric([region], counts.evictions)
        yield entries
        yield lookups
        yield evictions


def _counter(metric: names.Metric) -> CounterMetricFamily:
    return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)


def _histogram(
    metric: names.Metric, histograms: Mapping[tuple[str, ...], Histogram]
) -> HistogramMetricFamily:
    """The family of `metric`, with a histogram for each set of label values."""
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
    for labels, histogram in histograms.items():
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric(labels, buckets, histogram.total)
    return family
