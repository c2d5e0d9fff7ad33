"""The checker on histories written by hand: what it must see, and what it must let pass."""

import pytest

from tests.history.checker import (
    Answered,
    Asked,
    Begun,
    Disturbed,
    Event,
    Reached,
    Unanswered,
    story,
    violations,
)

L = 10.0


def disabled(at: float, version: int, *, applied: bool) -> list[Event]:
    return [Begun(at, "u", False), Reached(at + 1, "u", False, version, applied)]


def enabled(at: float, version: int, *, applied: bool) -> list[Event]:
    return [Begun(at, "u", True), Reached(at + 1, "u", True, version, applied)]


def answer(
    asked: float, answered: float, version: int, *, active: bool, user: str = "u"
) -> list[Event]:
    request = int(asked * 1000)
    return [Asked(asked, request, 1, user), Answered(answered, request, active, version, "memory")]


# What happened, and the rules it breaks.
CASES: dict[str, tuple[list[Event], list[str]]] = {
    "nothing": ([], []),
    "before anybody knows": (answer(1, 2, 1, active=True), []),
    "active after applied": (
        [*disabled(1, 5, applied=True), *answer(3, 4, 4, active=True)],
        ["outdated", "authorized"],
    ),
    "disabled after applied": (
        [*disabled(1, 5, applied=True), *answer(3, 4, 5, active=False)],
        [],
    ),
    "another user": (
        [*disabled(1, 5, applied=True), *answer(3, 4, 4, active=True, user="v")],
        [],
    ),
    "asked before applied, answered after": (
        [
            Begun(1, "u", False),
            Asked(2, 1, 1, "u"),
            Reached(3, "u", False, 5, True),
            Answered(4, 1, True, 4, "postgres"),
        ],
        [],
    ),
    "a version that lies": (
        [*disabled(1, 5, applied=True), *answer(3, 4, 9, active=True)],
        ["authorized"],
    ),
    "enabled again": (
        [
            *disabled(1, 5, applied=True),
            *enabled(3, 6, applied=True),
            *answer(5, 6, 6, active=True),
        ],
        [],
    ),
    "enabled again, and from before": (
        [
            *disabled(1, 5, applied=True),
            *enabled(3, 6, applied=True),
            *answer(5, 6, 4, active=True),
        ],
        ["outdated"],
    ),
    "enabling has begun": (
        [
            *disabled(1, 5, applied=True),
            Begun(3, "u", True),
            *answer(4, 5, 6, active=True),
        ],
        [],
    ),
    "enabling has begun, but the answer is older": (
        [
            *disabled(1, 5, applied=True),
            Begun(3, "u", True),
            *answer(4, 5, 4, active=True),
        ],
        ["outdated"],
    ),
    "enabling begins while it is asked": (
        [
            *disabled(1, 5, applied=True),
            Asked(3, 1, 1, "u"),
            Begun(4, "u", True),
            Answered(5, 1, True, 6, "postgres"),
        ],
        [],
    ),
    "within a lease of published": (
        [*disabled(1, 5, applied=False), *answer(11.9, 13, 4, active=True)],
        [],
    ),
    "a lease after published": (
        [*disabled(1, 5, applied=False), *answer(12.1, 13, 4, active=True)],
        ["outdated", "authorized"],
    ),
    "exactly a lease after published": (
        [*disabled(1, 5, applied=False), *answer(12, 13, 4, active=True)],
        [],
    ),
    "published, enabled, and a lease later": (
        [
            *disabled(1, 5, applied=False),
            *enabled(3, 6, applied=False),
            *answer(13, 14, 6, active=True),
        ],
        [],
    ),
    "published, then applied": (
        [
            *disabled(1, 5, applied=False),
            Reached(3, "u", False, 5, True),
            *answer(4, 5, 4, active=True),
        ],
        ["outdated", "authorized"],
    ),
    "an old disabling does not hide a newer one": (
        [
            *disabled(1, 5, applied=False),
            *enabled(3, 6, applied=False),
            *disabled(5, 7, applied=True),
            *answer(12.5, 13, 6, active=True),
        ],
        ["outdated", "authorized"],
    ),
    "still refused after an applied enabling": (
        [*enabled(1, 6, applied=True), *answer(3, 4, 5, active=False)],
        ["outdated"],
    ),
    "nobody answers": (
        [*disabled(1, 5, applied=True), Asked(3, 1, 1, "u"), Unanswered(4, 1)],
        [],
    ),
    "what the nemesis does is no answer": ([Disturbed(1, "cut")], []),
}


@pytest.mark.parametrize(("history", "broken"), CASES.values(), ids=CASES)
def test_hand_written(history: list[Event], broken: list[str]) -> None:
    assert [found.rule for found in violations(history, L)] == broken


def test_each_wrong_answer_is_found() -> None:
    wrong = [event for at in range(3, 8) for event in answer(at, at + 0.5, 4, active=True)]
    found = violations([*disabled(1, 5, applied=True), *wrong], L)
    assert len(found) == 10
    assert {each.since for each in found} == {2.0}


def test_a_story_tells_of_the_user_and_the_nemesis() -> None:
    history: list[Event] = [
        Disturbed(0.1, "long ago"),
        *disabled(1.2, 5, applied=True),
        Disturbed(2.5, "cut news of 1"),
        *answer(2.8, 2.9, 3, active=True, user="v"),
        *answer(3, 4, 4, active=True),
        Disturbed(5, "afterwards"),
    ]
    told = story(history, violations(history, L)[0], seconds=1.5).splitlines()
    assert len(told) == 6
    assert told[0].startswith("outdated")
    assert "Begun" in told[1]
    assert "Reached" in told[2]
    assert "cut news of 1" in told[3]
    assert "Asked" in told[4]
    assert "Answered" in told[5]
