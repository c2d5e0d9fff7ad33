import pytest

from sidecar.telemetry import names
from sidecar.telemetry.meters import BOUNDS, Histogram, Meters


def test_values_fall_into_the_bucket_that_bounds_them() -> None:
    histogram = Histogram()
    for seconds in (0.0, BOUNDS[0], 0.0006, 31.0):
        histogram.add(seconds)
    assert histogram.counts[0] == 2, "a bound is inclusive (Prometheus: le)"
    assert histogram.counts[1] == 1
    assert histogram.counts[-1] == 1
    assert histogram.total == pytest.approx(31.0 + BOUNDS[0] + 0.0006)


def test_meters_begin_at_nothing() -> None:
    meters = Meters()
    meters.requests["r", "granted", 200] += 1
    assert meters.requests == {("r", "granted", 200): 1}
    assert meters.seconds["r"].total == 0.0


def test_names_are_unique_and_carry_their_unit() -> None:
    metrics = [each for each in vars(names).values() if isinstance(each, names.Metric)]
    assert len({metric.name for metric in metrics}) == len(metrics) > 10
    for metric in metrics:
        assert metric.name.startswith("sidecar_")
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")
