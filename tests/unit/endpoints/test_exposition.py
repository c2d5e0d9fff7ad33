from prometheus_client.parser import text_string_to_metric_families

from sidecar.endpoints.exposition import merge

ONE = """\
# HELP requests_total Requests, by "route".
# TYPE requests_total counter
requests_total{route="/a b",status="200"} 3.0
requests_total{route="{x}",status="404"} 1.0
# HELP lease Whether.
# TYPE lease gauge
lease 1.0
"""
TWO = """\
# HELP lease Whether.
# TYPE lease gauge
lease 0.0
# HELP seconds How long.
# TYPE seconds histogram
seconds_bucket{le="1.0"} 2.0
seconds_bucket{le="+Inf"} 2.0
seconds_count 2.0
seconds_sum 0.5
"""


def test_samples_are_told_apart_by_worker_and_families_stand_together() -> None:
    merged = merge({"0": ONE, "1": TWO})
    families = {each.name: each for each in text_string_to_metric_families(merged)}
    assert set(families) == {"requests", "lease", "seconds"}
    assert {(each.labels["worker"], each.value) for each in families["lease"].samples} == {
        ("0", 1.0),
        ("1", 0.0),
    }
    assert families["requests"].samples[1].labels == {
        "worker": "0",
        "route": "{x}",
        "status": "404",
    }
    assert all(each.labels["worker"] == "1" for each in families["seconds"].samples)
    assert merged.count("# HELP lease") == 1
    assert families["requests"].documentation == 'Requests, by "route".'


def test_of_nobody_nothing_is_told() -> None:
    assert merge({}) == ""
