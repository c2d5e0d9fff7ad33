"""The alert rules speak of metrics, labels and values that exist, and say what to do."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from sidecar.cache.following import Verdict
from sidecar.cache.regions import Statistics
from sidecar.model.need import Need
from sidecar.model.reason import Reason
from sidecar.sync.tiers import Tier
from sidecar.telemetry import names

FILE = Path(__file__).parents[3] / "config" / "alerts" / "sidecar.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
DOCUMENT = FILE.parents[2] / "docs" / "operations.md"
by_rule = pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])

METRICS = {each.name: each for each in vars(names).values() if isinstance(each, names.Metric)}
# What the scraping Prometheus adds.
SCRAPED = {"job", "instance"}
SELECTOR = re.compile(r"\b(sidecar_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")
USED_LABEL = re.compile(r"\$labels\.(\w+)")
# Labels whose values are a closed set.
VALUES: dict[str, set[str]] = {
    "reason": set(Reason),
    "outcome": {*Tier, "doomed", "failed", "fill-failed"}
    | {f"fill-refused-{cause}" for cause in ("head", "epoch", "suspect", "size")},
    "cause": {each.name.lower().replace("_", "-") for each in Verdict}
    | {"replayed", "lost", "resubscribed"},
    "tier": set(Tier),
    "result": {"hit", "miss"},
    "region": set(Statistics.__struct_fields__),
    "kind": {each.__name__ for each in get_args(Need)},
    "status": {str(status) for status in range(100, 600)},
}


def declared(exported: str) -> names.Metric:
    """The metric behind a name as it is scraped; fails for a name nothing exports."""
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    found = [
        metric
        for metric in METRICS.values()
        if exported in {metric.name + suffix for suffix in suffixes[metric.kind]}
    ]
    assert found, f"{exported} is not exported"
    return found[0]


def uses(rule: dict[str, Any]) -> list[tuple[names.Metric, list[tuple[str, str, str]]]]:
    """The metrics of a rule, each with its matchers."""
    found = SELECTOR.findall(rule["expr"])
    assert found
    return [(declared(name), MATCHER.findall(inside)) for name, inside in found]


def alternatives(pattern: str) -> list[str]:
    """What a pattern chooses from: ``a-(b|c)`` from ``a-b`` and ``a-c``."""
    found = re.fullmatch(r"([^(|]*)\(([^)]*)\)", pattern)
    before, inside = found.groups() if found else ("", pattern)
    return [before + each for each in inside.split("|")]


def grouped(metric: names.Metric) -> set[str]:
    """The labels that series of `metric` have when they are scraped."""
    return {*metric.labels, *SCRAPED, *({"le"} if metric.kind == "histogram" else ())}


@by_rule
def test_its_metrics_and_labels_exist(rule: dict[str, Any]) -> None:
    for metric, matchers in uses(rule):
        assert {label for label, _, _ in matchers} <= {*metric.labels, *SCRAPED}
        for labels in GROUPING.findall(rule["expr"]):
            assert {label.strip() for label in labels.split(",")} <= grouped(metric)


@by_rule
def test_it_looks_for_values_that_occur(rule: dict[str, Any]) -> None:
    for _, matchers in uses(rule):
        for label, operator, value in matchers:
            patterns = alternatives(value) if "~" in operator else [re.escape(value)]
            for pattern in patterns:
                assert any(re.fullmatch(pattern, each) for each in VALUES[label]), pattern


@by_rule
def test_a_quantile_keeps_the_bounds_of_its_buckets(rule: dict[str, Any]) -> None:
    """`histogram_quantile` without `le` gives nothing, and the alert would never fire."""
    buckets = "_bucket" in rule["expr"]
    assert buckets == ("histogram_quantile" in rule["expr"])
    assert buckets <= any("le" in labels for labels in GROUPING.findall(rule["expr"]))


@by_rule
def test_it_says_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["description"]) > 60
    kept = [set(re.split(r",\s*", labels)) for labels in GROUPING.findall(rule["expr"])]
    for used in USED_LABEL.findall(rule["annotations"]["summary"]):
        assert all(used in labels for labels in kept)


def test_names_are_unique() -> None:
    alerts = [rule["alert"] for rule in RULES]
    assert len(set(alerts)) == len(alerts)
    assert all(re.fullmatch(r"Sidecar[A-Z]\w+", alert) for alert in alerts)


@pytest.mark.parametrize(
    "metric",
    [
        names.LEASE_VALID,
        names.RESYNCS,
        names.REQUESTS,
        names.AUDIT_DROPPED,
        names.CLIENT_REFUSED,
        names.CLIENT_SHED,
        names.FACTS_STALE,
        names.NEWS_LAG,
        names.NEWS_GAP,
        names.SHARDS_SUSPECT,
        names.READS,
    ],
    ids=lambda metric: metric.name,
)
def test_what_needs_somebody_has_a_rule(metric: names.Metric) -> None:
    assert any(metric in (used for used, _ in uses(rule)) for rule in RULES)


@pytest.mark.parametrize(
    "name", ["sidecar_requests", "sidecar_lease_valid_total", "sidecar_nothing", "sidecar_request"]
)
def test_a_name_that_nothing_exports_is_found_out(name: str) -> None:
    with pytest.raises(AssertionError, match="is not exported"):
        declared(name)


def test_the_documentation_speaks_of_every_metric_and_of_no_other() -> None:
    told = set(re.findall(r"\bsidecar_[a-z_]+", DOCUMENT.read_text(encoding="utf-8")))
    # A histogram may be called by its name alone.
    assert {name if name in METRICS else declared(name).name for name in told} == set(METRICS)


def queries() -> list[str]:
    """The PromQL of the documentation, without comments."""
    [block] = re.findall(r"```promql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [re.sub("#.*", "", each) for each in block.split("\n\n")]


@pytest.mark.parametrize("query", queries())
def test_its_queries_speak_of_labels_and_values_that_exist(query: str) -> None:
    rule = {"expr": query}
    test_its_metrics_and_labels_exist(rule)
    test_it_looks_for_values_that_occur(rule)
    assert query.count("(") == query.count(")")
