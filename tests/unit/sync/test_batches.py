"""Questions wait for each other only where the store is busy; nobody works in vain."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from sidecar.model.errors import StoresUnavailable
from sidecar.sync.batches import Batches, Question
from sidecar.sync.cancellation import end_tasks


class Asked(Question):
    """A question with a name."""

    def __init__(self, name: str, *, is_first: bool = True, until: float = 1000.0) -> None:
        super().__init__(asyncio.get_running_loop().time() + until, is_first=is_first)
        self.name = name
        self.wanted = True
        self.failure: BaseException | None = None

    def is_wanted(self) -> bool:
        return self.wanted

    def fail(self, failure: BaseException) -> None:
        self.is_over = True
        self.failure = failure


class Store:
    """Answers a batch when it is told."""

    def __init__(self, at_once: int = 1, most: int = 3) -> None:
        self.asked: list[list[str]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.batches = Batches[Asked](self._answer, self.tasks, at_once=at_once, most=most)

    async def _answer(self, questions: Sequence[Asked]) -> None:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked.append([question.name for question in questions])
        self.gates.append(gate)
        await gate
        for question in questions:
            question.is_over = True

    def add(self, names: str, *, is_first: bool = True, until: float = 1000.0) -> list[Asked]:
        questions = [Asked(name, is_first=is_first, until=until) for name in names]
        for question in questions:
            self.batches.add(question)
        return questions


@pytest.fixture
async def stores() -> AsyncIterator[Callable[..., Store]]:
    """Makes stores whose last batches end with the test."""
    made: list[Store] = []

    def make(at_once: int = 1, most: int = 3) -> Store:
        made.append(Store(at_once, most))
        return made[-1]

    yield make
    for store in made:
        while store.tasks:
            await end_tasks(store.tasks)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_that_finds_the_store_idle_is_asked_alone_and_at_once(
    stores: Callable[..., Store],
) -> None:
    store = stores()
    [one] = store.add("a")
    await asyncio.sleep(0)
    assert store.asked == [["a"]]
    store.gates[0].set_result(None)
    await settled()
    assert one.is_over
    assert one.failure is None
    assert not store.tasks


async def test_those_of_one_turn_go_together_and_the_rest_beside_or_after(
    stores: Callable[..., Store],
) -> None:
    store = stores(at_once=2)
    store.add("abcdefgh")
    await settled()
    assert store.asked == [["a", "b", "c"], ["d", "e", "f"]]
    # A slow batch keeps nobody from going with the other.
    store.gates[1].set_result(None)
    await settled()
    assert store.asked[2:] == [["g", "h"]]
    assert len(store.batches) == 0


async def test_those_that_followed_and_those_that_come_take_turns(
    stores: Callable[..., Store],
) -> None:
    store = stores()
    store.add("abcdefghi")
    await settled()
    store.add("xyzuv", is_first=False)
    for number in range(4):
        store.gates[number].set_result(None)
        await settled()
    assert [names[0] for names in store.asked] == ["a", "x", "d", "u", "g"]


async def test_what_nobody_waits_for_is_not_asked(stores: Callable[..., Store]) -> None:
    store = stores()
    store.add("a")
    await settled()
    b, c, d = store.add("bcd")
    b.wanted = False
    c.is_over = True
    store.gates[0].set_result(None)
    await settled()
    assert store.asked[1:] == [["d"]]
    assert isinstance(b.failure, StoresUnavailable)
    assert c.failure is None
    assert d.failure is None


async def test_a_batch_of_unwanted_ones_makes_room(stores: Callable[..., Store]) -> None:
    store = stores(most=1)
    store.add("a")
    await settled()
    b, _ = store.add("bc")
    b.wanted = False
    store.gates[0].set_result(None)
    await settled()
    assert store.asked[1:] == [["c"]]


async def test_a_batch_that_all_have_left_is_given_up(stores: Callable[..., Store]) -> None:
    store = stores()
    a, b = store.add("ab")
    await settled()
    store.add("c")
    a.leave()
    await settled()
    assert not store.gates[0].cancelled()
    b.leave()
    b.leave()
    await settled()
    assert store.gates[0].cancelled()
    assert store.asked[1:] == [["c"]]


async def test_an_error_fails_the_batch_and_nobody_else(stores: Callable[..., Store]) -> None:
    store = stores(most=2)
    a, b, c = store.add("abc")
    await settled()
    store.gates[0].set_exception(ZeroDivisionError())
    await settled()
    assert isinstance(a.failure, ZeroDivisionError)
    assert isinstance(b.failure, ZeroDivisionError)
    assert store.asked[1:] == [["c"]]
    store.gates[1].set_result(None)
    await settled()
    assert c.failure is None


async def test_one_that_was_passed_on_is_not_failed_by_the_batch_it_left(
    stores: Callable[..., Store],
) -> None:
    store = stores()
    [one] = store.add("a")
    await settled()
    elsewhere = stores()
    elsewhere.batches.add(one)
    store.gates[0].set_exception(ZeroDivisionError())
    await settled()
    assert one.failure is None
    assert elsewhere.asked == [["a"]]


async def test_whose_turn_would_come_too_late_is_refused_at_once(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    began, passed = loop.time(), 0.0
    monkeypatch.setattr(loop, "time", lambda: began + passed)
    store = stores(most=1)
    patient = store.add("abcd")
    hasty = store.add("xyz", until=20.0)
    await settled()
    for number in range(2):
        passed += 5.0
        store.gates[number].set_result(None)
        await settled()
    # Ten seconds went into two; of the ten that are left, the five before the last take more.
    assert [one.failure is None for one in hasty] == [False, False, False]
    assert [one.failure is None for one in patient] == [True] * 4
    assert store.asked == [["a"], ["b"], ["c"]]


async def test_what_is_in_time_is_not_refused(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    began, passed = loop.time(), 0.0
    monkeypatch.setattr(loop, "time", lambda: began + passed)
    store = stores(most=1)
    waiting = store.add("abcd", until=40.0)
    for number in range(4):
        await settled()
        passed += 5.0
        store.gates[number].set_result(None)
    await settled()
    assert all(one.failure is None for one in waiting)
    assert store.asked == [["a"], ["b"], ["c"], ["d"]]
