"""Refused calls are told at once, then together; of many addresses together, too."""

from collections.abc import Callable

import pytest

from sidecar.endpoints import admin_refusals
from sidecar.endpoints.admin_refusals import Refusals, Refused


class World:
    """A time that a test lets pass, and what was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, str]] = []
        self.waiting: list[tuple[float, Callable[[str], None], str]] = []
        self.refusals = Refusals(self.tell, self.later)

    def tell(self, refused: Refused) -> None:
        self.told.append((refused.client, refused.calls, refused.request_id))

    def later(self, delay: float, callback: Callable[[str], None], argument: str, /) -> None:
        self.waiting.append((delay, callback, argument))

    def pass_time(self) -> None:
        waiting, self.waiting = self.waiting, []
        for delay, callback, argument in waiting:
            assert delay == 10.0
            callback(argument)

    def refuse(self, client: str, request_id: str = "r") -> None:
        self.refusals.add(Refused(client, 1, request_id, 401, "unauthenticated", 0.1, "GET /"))


def test_the_first_is_told_at_once_and_the_others_together() -> None:
    world = World()
    for number in range(5):
        world.refuse("a", f"r{number}")
    assert world.told == [("a", 1, "r0")]
    world.pass_time()
    assert world.told == [("a", 1, "r0"), ("a", 4, "r4")]


def test_who_stops_is_forgotten() -> None:
    world = World()
    world.refuse("a")
    world.refuse("a")
    world.pass_time()
    world.pass_time()
    assert world.waiting == []
    world.refuse("a")
    assert [calls for _, calls, _ in world.told] == [1, 1, 1]


def test_addresses_are_told_apart() -> None:
    world = World()
    for client in ("a", "b", "a"):
        world.refuse(client)
    assert world.told == [("a", 1, "r"), ("b", 1, "r")]
    world.pass_time()
    assert world.told[2:] == [("a", 1, "r")]


def test_as_many_as_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_refusals, "_MOST_ADDRESSES", 2)
    world = World()
    for client in ("a", "b", "c", "d", "a"):
        world.refuse(client)
    assert [client for client, _, _ in world.told] == ["a", "b", "others"]
    world.pass_time()
    assert world.told[3:] == [("a", 1, "r"), ("others", 1, "r")]
