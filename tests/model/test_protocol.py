"""The cache protocol under every order of events: SYNC.md's rules suffice, and each is needed.

`SIDECAR_MODEL_DEPTH=20` visits twenty times as many states. `-rP` prints counts and stories.
"""

import os
from typing import Final

import pytest

from tests.model.explorer import Exploration, Explorer
from tests.model.rules import Rules, without
from tests.model.scenarios import SCENARIOS
from tests.model.world import Protocol, World

# Nobody waits longer than half a minute for all of them.
_STATES: Final = 30_000 * int(os.environ.get("SIDECAR_MODEL_DEPTH", "1"))
# To be found without a rule, however long that takes.
_ENOUGH: Final = 400_000


def explore(scenario: str, rules: Rules, most_states: int) -> Exploration:
    found = Explorer[World](Protocol(SCENARIOS[scenario], rules), most_states=most_states).explore()
    print(f"{scenario}: {found}")  # noqa: T201  the story is what one wants to read
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_with_all_rules_the_promises_hold(scenario: str) -> None:
    assert explore(scenario, Rules(), _STATES).story == ()


@pytest.mark.parametrize(
    ("rule", "scenario"),
    [
        ("r1_scripts", "a flush"),
        ("r1_scripts", "a failover"),
        ("r1_fresh", "a slow relay"),
        ("r2_waits", "a warm memory"),
        ("r2_members", "a warm memory"),
        ("r2_epoch_age", "a failover"),
        ("r2_begun", "a slow relay"),
        ("r2_write", "an isolated old master"),
        ("r3", "a revocation before another change"),
        ("r4", "a start"),
        ("r5_start", "a start"),
        ("r5_flush", "a replay that finds nothing"),
        ("r6_doom", "a start"),
        ("r6_share", "a start"),
        ("r6_news", "the writer is a sidecar"),
        ("r6_news", "an isolated old master"),
        ("r7", "a replacement"),
        ("r8", "an isolated old master"),
    ],
)
def test_without_one_rule_promise_13_is_broken(rule: str, scenario: str) -> None:
    found = explore(scenario, without(rule), _ENOUGH)
    assert found.story
    assert "promise 13" in found.story[-1]
