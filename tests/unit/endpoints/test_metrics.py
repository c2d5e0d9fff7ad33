"""The exposition, as Prometheus reads it."""

import math

from prometheus_client.parser import text_string_to_metric_families

from sidecar.cache.regions import RegionStatistics
from sidecar.endpoints.metrics import Metrics
from sidecar.telemetry import names
from sidecar.telemetry.meters import Histogram, Meters

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(metrics: Metrics) -> Series:
    """Samples by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.scrape().decode())
        for sample in family.samples
    }


def sample(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


def test_all_kinds_are_exported() -> None:
    meters = Meters()
    meters.requests["r", "granted", 200] += 2
    meters.seconds["r"].add(0.002)
    meters.loads["UserNeed", "redis"] += 3
    lag = Histogram()
    lag.add(0.003)
    lag.add(99.0)
    metrics = Metrics(
        meters,
        {},
        lambda: {"users": RegionStatistics(1, 8, 2, 0)},
        [(names.NEWS_GAP, lambda: 4.0), (names.CHANGES_APPLIED, lambda: 5.0)],
        [(names.READS, {"fill-refused-head": 6})],
        [(names.NEWS_LAG, lag)],
        [(names.ENTRY_SECONDS, lambda: {"user": 75.0, "roles": 300.0})],
    )
    series = scraped(metrics)
    assert (
        sample(series, "sidecar_requests_total", route="r", reason="granted", status="200") == 2.0
    )
    assert sample(series, "sidecar_request_seconds_bucket", route="r", le="0.0025") == 1.0
    assert sample(series, "sidecar_request_seconds_count", route="r") == 1.0
    assert sample(series, "sidecar_loads_total", kind="UserNeed", tier="redis") == 3.0
    assert sample(series, "sidecar_cache_lookups_total", region="users", result="hit") == 8.0
    assert sample(series, "sidecar_news_gap") == 4.0
    assert sample(series, "sidecar_changes_applied_total") == 5.0
    assert sample(series, "sidecar_entry_lifetime_seconds", kind="roles") == 300.0
    assert sample(series, "sidecar_reads_total", outcome="fill-refused-head") == 6.0
    assert sample(series, "sidecar_news_lag_seconds_bucket", le="0.0025") == 0.0
    assert sample(series, "sidecar_news_lag_seconds_bucket", le="0.005") == 1.0
    assert sample(series, "sidecar_news_lag_seconds_bucket", le="+Inf") == 2.0
    assert math.isclose(sample(series, "sidecar_news_lag_seconds_sum"), 99.003)
