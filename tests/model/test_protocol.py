"""The cache protocol under every order of events: its rules suffice, and each is needed.

The machines are the product's own (`Following`, `Flights`, `standing`); PostgreSQL, Redis, the
network, the relay and time are modelled. `-rP` prints how many states were visited, and the
stories. `SIDECAR_MODEL_DEPTH=50` visits fifty times as many; some scenarios end before.
"""

import os
from typing import Final

import pytest

from tests.model.explorer import Exploration, Explorer
from tests.model.protocol import Protocol
from tests.model.rules import Rules, without
from tests.model.scenarios import SCENARIOS
from tests.model.world import World

# For each scenario: together some 10 s.
_STATES: Final = 10_500 * int(os.environ.get("SIDECAR_MODEL_DEPTH", "1"))
# Without a rule the fault is found long before.
_ENOUGH: Final = 200_000


def explore(scenario: str, rules: Rules, most_states: int) -> Exploration:
    found = Explorer[World](Protocol(SCENARIOS[scenario], rules), most_states=most_states).explore()
    told = "".join(f"\n  before: {each} ..." for each in SCENARIOS[scenario].prelude)
    print(f"{scenario}: {found}{told}")  # noqa: T201  the story is what one wants to read
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_with_all_rules_the_promises_hold(scenario: str) -> None:
    assert explore(scenario, Rules(), _STATES).story == ()


@pytest.mark.parametrize(
    ("rule", "scenario", "promise"),
    [
        ("r1_scripts", "a flush", 13),
        ("r1_scripts", "a failover", 13),
        ("r1_carried", "what was published beside an isolated old master", 14),
        ("r1_fresh", "a slow relay that returns", 13),
        ("r2_waits", "a warm memory", 13),
        ("r2_members", "a warm memory", 13),
        ("r2_epoch_age", "a failover", 13),
        ("r2_begun", "an epoch that begins long after it was chosen", 13),
        ("r2_leave", "an end in order", 13),
        ("r2_write", "an epoch begun in the isolated old master", 13),
        ("r3", "a revocation before another change", 13),
        ("r4", "a start", 13),
        ("r5_start", "a start", 13),
        ("r5_flush", "a replay that finds nothing", 13),
        ("r6_doom", "a start", 13),
        ("r6_share", "a start", 13),
        ("r6_news", "the writer is a sidecar", 13),
        ("r7", "a replacement", 13),
        ("r8", "an isolated old master", 13),
        ("r12_scripts", "a restored PostgreSQL", 13),
        ("r12_news", "news of PostgreSQL's life before", 13),
        ("r12_replay", "a replay that outlives PostgreSQL's life", 13),
    ],
)
def test_without_a_rule_a_promise_is_broken(rule: str, scenario: str, promise: int) -> None:
    found = explore(scenario, without(rule), _ENOUGH)
    assert found.story
    assert f"(promise {promise})" in found.story[-1]
