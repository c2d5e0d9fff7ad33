from typing import Any

import pytest

from perf.websockets.growth import NUMBERS_OF_RULES, message, messages_section, parsed
from perf.websockets.proxies import PAYLOAD
from sidecar.relay.gate import ALLOW, Close, Direction, Kind
from tests.cases.messages.world import gate_of

METRICS = """\
# TYPE sidecar_websocket_judging_seconds histogram
sidecar_websocket_judging_seconds_bucket{{le="0.0005"}} {small}
sidecar_websocket_judging_seconds_bucket{{le="0.001"}} {large}
sidecar_websocket_judging_seconds_bucket{{le="+Inf"}} {count}
sidecar_websocket_judging_seconds_count {count}
sidecar_websocket_judging_seconds_sum {total}
"""


def test_what_was_counted_is_told_of_the_time_between() -> None:
    before = parsed(METRICS.format(small=10, large=10, count=10, total=1.0))
    after = parsed(METRICS.format(small=990, large=1_010, count=1_010, total=1.01))
    between = after.since(before)
    assert between.count == 1_000
    assert between.seconds == pytest.approx(0.01)
    assert between.told() == (
        "1000 messages: mean 10.0 us, p99 <= 1 ms (98.000% within 0.5 ms, 100.000% within 1 ms)"
    )


@pytest.mark.parametrize("rules", [size for size in NUMBERS_OF_RULES if size])
def test_the_last_rule_is_about_the_messages_that_are_sent(rules: int) -> None:
    section: dict[str, Any] = messages_section(rules)
    assert len(section["messages"]["rules"]) == rules
    allowed, refused = (
        gate_of(section, granted).judge(Direction.CLIENT, Kind.TEXT, message(7))
        for granted in (["allow orders:read on orders/7"], ["allow orders:read on orders/8"])
    )
    assert allowed is ALLOW
    assert isinstance(refused, Close)


def test_messages_are_as_long_as_the_application_counts_them() -> None:
    assert {len(message(order)) for order in (0, 7, 123_456)} == {PAYLOAD}


def test_without_rules_there_is_no_section() -> None:
    assert messages_section(0) == {}
