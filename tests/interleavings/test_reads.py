"""All orders of readers, answers, news, epochs, lapses and fills: nobody late gets the old fact.

The real memory, flights, tiers and follower; stores and time are scripted. `-rP` prints how many
orders there are.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest

from sidecar.model.need import Need
from sidecar.sync import levels as levels_module
from sidecar.sync.tiers import Tiers
from tests.interleavings.every_order import Choices, every_order
from tests.interleavings.stage import ANN, NEW, Stage, StillLoop

# Event -> what it does, and when it may.
_EVENTS: Final[dict[str, tuple[Callable[[Stage], object], Callable[[Stage], bool]]]] = {
    "a reader comes": (Stage.come, lambda _: True),
    "another reader comes": (Stage.come, lambda stage: len(stage.readers) > 0),
    "a third reader comes": (Stage.come, lambda stage: len(stage.readers) > 1),
    "the change is committed": (
        lambda stage: setattr(stage.stores, "truth", NEW),
        lambda _: True,
    ),
    "Redis is told": (
        lambda stage: stage.stores.told(),
        lambda stage: stage.stores.truth is NEW and stage.stores.head.seq == 1,
    ),
    "the news arrives": (Stage.hear, lambda stage: stage.stores.truth is NEW),
    "the subscription is made anew": (Stage.lapse, lambda _: True),
    "a heartbeat": (lambda stage: stage.beat(range(16)), lambda _: True),
    "Redis begins an epoch": (lambda stage: stage.stores.new_epoch(), lambda _: True),
    "the first reader gives up": (Stage.give_up, lambda stage: len(stage.readers) > 0),
    "the bound passes": (Stage.time_out, lambda stage: len(stage.readers) > 0),
    "what is in use is read anew": (
        lambda stage: stage.tiers.refresh(ANN),
        lambda _: True,
    ),
    "many are read": (Stage.read_many, lambda _: True),
    "a need is anticipated": (lambda stage: stage.tiers.anticipate(ANN), lambda _: True),
}
_BASE: Final = ("a reader comes", "the change is committed", "the news arrives")
_TWO: Final = (*_BASE, "another reader comes")
SCENARIOS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "three readers": ("none", (*_TWO, "a third reader comes")),
    "a lapse": ("none", (*_TWO, "the subscription is made anew", "a heartbeat")),
    "an epoch": ("none", (*_TWO, "Redis begins an epoch", "a heartbeat")),
    "one gives up": ("none", (*_TWO, "the first reader gives up")),
    "a time-out": ("none", (*_TWO, "the bound passes", "a third reader comes")),
    "a refresh": ("none", (*_TWO, "what is in use is read anew")),
    "an anticipation": ("none", (*_TWO, "a need is anticipated")),
    "many at once": ("filled", (*_BASE, "Redis is told", "many are read")),
    "an empty Redis": ("empty", (*_TWO, "Redis is told")),
    "a filled Redis": ("filled", (*_TWO, "Redis is told")),
    "a filled Redis and a lapse": (
        "filled",
        (*_BASE, "Redis is told", "the subscription is made anew", "another reader comes"),
    ),
    "Redis, a heartbeat, no message": (
        "filled",
        ("a reader comes", "another reader comes", "the change is committed", "Redis is told",
         "a heartbeat"),
    ),
    "Redis begins an epoch": ("empty", (*_BASE, "Redis begins an epoch", "a heartbeat")),
}  # fmt: skip


class _NothingDoomed(Tiers):
    def doom(self, need: Need) -> None:
        pass


class _AlwaysShared(Tiers):
    """Without a lease, too, a request joins a read that has started."""

    def _is_leased(self, _need: Any) -> bool:
        return True


class _OldRedis(Tiers):
    """What Redis knew before the news counts."""

    def reached(self, shard: int, seq: int) -> None:
        pass


async def _tell(
    choices: Choices, tiers: type[Tiers], redis: str, events: tuple[str, ...], *, share: bool
) -> list[str]:
    """One story; its sentences, and at the end what was wrong."""
    stage, left, story = Stage(tiers, redis=redis, share=share), list(events), list[str]()
    await stage.settle()
    while True:
        possible: list[Any] = [name for name in left if _EVENTS[name][1](stage)]
        possible += stage.stores.on_the_way
        if not possible:
            break
        event = choices.pick(possible)
        if isinstance(event, str):
            left.remove(event)
            _EVENTS[event][0](stage)
            story.append(event)
        else:
            stage.stores.on_the_way.remove(event)
            event.go()
            story.append(f"answer of {event.name}")
        await stage.settle()
    await stage.end()
    return [*story, *stage.wrong] if stage.wrong else []


def explore(
    tiers: type[Tiers], scenario: str, *, share: bool = True, most: int = 1_000_000
) -> tuple[int, list[str]]:
    """How many orders there are, and the first that went wrong."""
    redis, events = SCENARIOS[scenario]
    count = 0
    with asyncio.Runner(loop_factory=StillLoop) as runner:
        found = every_order(
            lambda choices: runner.run(_tell(choices, tiers, redis, events, share=share))
        )
        for count, story in enumerate(found, 1):
            if story or count >= most:
                return count, story
    return count, []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nobody_late_gets_the_old_fact(scenario: str) -> None:
    count, story = explore(Tiers, scenario)
    print(f"{scenario}: {count} orders")  # noqa: T201  shown by -rP
    assert story == []
    assert count > 50


def test_without_sharing_neither() -> None:
    count, story = explore(Tiers, "a refresh", share=False)
    assert story == []
    assert count > 50


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_those_that_wait_for_a_batch_neither(
    scenario: str, share: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each store answers one question at a time: what comes meanwhile goes along with the next."""
    monkeypatch.setattr(levels_module, "_PRIMARY_AT_ONCE", 1)
    monkeypatch.setattr(levels_module, "_SHARD_AT_ONCE", 1)
    count, story = explore(Tiers, scenario, share=share, most=3_000)
    print(f"{scenario}: {count} orders")  # noqa: T201  shown by -rP
    assert story == []
    assert count > 50


@pytest.mark.parametrize(
    ("broken", "scenario"),
    [
        (_NothingDoomed, "three readers"),
        (_AlwaysShared, "a lapse"),
        (_OldRedis, "a filled Redis"),
    ],
)
def test_a_broken_rule_is_found(broken: type[Tiers], scenario: str) -> None:
    """Proof that the tests above could fail."""
    count, story = explore(broken, scenario)
    print(f"after {count} orders:", *story, sep="\n  ")  # noqa: T201  shown by -rP
    assert story
