"""Whose client has to give way to others, and when."""

import pytest

from sidecar.clock import NEVER, Sweeper
from sidecar.forward.stalls import Stalls
from sidecar.model.reason import Reason
from sidecar.settings.schema import Upstream


class World:
    """A pool of eight connections, of which six may be held by who does not read."""

    def __init__(self, connections: int = 8) -> None:
        settings = Upstream(url="http://127.0.0.1:1", connections=connections, queue_seconds=5.0)
        self.now = 100.0
        self.queue: list[str] = []
        self.sweeper = Sweeper()
        self.stalls = Stalls(settings, lambda: self.now, self.sweeper, self.queue)

    @property
    def is_watched(self) -> bool:
        return self.stalls in self.sweeper._watched

    def wait(self, name: str) -> None:
        self.queue.append(name)
        self.stalls.make_room()

    def stalled(self, count: int, *, lags: bool = True) -> list["Exchange"]:
        made = [Exchange(self, lags=lags) for _ in range(count)]
        for each in made:
            self.stalls.begin(each)  # type: ignore[arg-type] # all that is asked of one
        return made


class Exchange:
    """Gives its connection to the first of the queue when it fails."""

    def __init__(self, world: World, *, lags: bool) -> None:
        self.world = world
        self.is_slow = lags
        self.reason: Reason | None = None
        self.asked: list[float] = []

    def lags(self) -> bool:
        self.asked.append(self.world.now)
        return self.is_slow

    def fail(self, reason: Reason) -> None:
        self.reason = reason
        self.world.stalls.end(self)  # type: ignore[arg-type] # all that is asked of one
        self.world.queue.pop(0)


def given_way(exchanges: list[Exchange]) -> list[int]:
    return [place for place, each in enumerate(exchanges) if each.reason is Reason.OVERLOADED]


def test_nobody_gives_way_where_nobody_waits() -> None:
    world = World()
    slow = world.stalled(8)
    world.now += 10_000
    world.stalls.make_room()
    assert given_way(slow) == []
    assert not world.is_watched
    assert slow[0].asked == []


def test_the_longest_give_way_down_to_their_share() -> None:
    world = World()
    slow = world.stalled(8)
    world.wait("a")
    assert given_way(slow) == [], "nobody before it was looked at"
    assert [len(each.asked) for each in slow] == [1, 1, *[0] * 6]
    assert world.is_watched
    assert world.stalls.deadline == 102.0
    world.now = 102.0
    world.stalls.expire()
    assert given_way(slow) == [0], "as many as wait"
    assert world.stalls.deadline == NEVER
    assert not world.is_watched
    world.wait("b")
    assert given_way(slow) == [0, 1]
    world.wait("c")
    world.now += 10
    world.stalls.make_room()
    assert given_way(slow) == [0, 1]
    assert world.queue == ["c"], "six of eight may stay"


def test_who_gets_on_stays_and_is_asked_once_in_a_while() -> None:
    world = World()
    steady = world.stalled(7, lags=False)
    (deaf,) = world.stalled(1)
    for _ in range(40):
        world.wait("a")
        world.now += 0.5
        world.stalls.make_room()
    assert given_way(steady) == []
    assert deaf.reason is Reason.OVERLOADED
    assert world.stalls.deadline > world.now
    assert all(len(each.asked) <= 2 * 20 / 2.0 for each in steady)


def test_whose_stall_ended_does_not_give_way() -> None:
    world = World()
    slow = world.stalled(8)
    world.wait("a")
    for each in (slow[0], slow[7]):
        world.stalls.end(each)  # type: ignore[arg-type] # all that is asked of one
    world.now += 5
    world.stalls.expire()
    assert given_way(slow) == []


def test_a_stall_that_is_told_twice_is_one() -> None:
    world = World()
    slow = world.stalled(7)
    for _ in range(2):
        for each in slow:
            world.stalls.begin(each)  # type: ignore[arg-type] # all that is asked of one
        world.wait("a")
    world.now += 5
    world.stalls.make_room()
    assert given_way(slow) == [0]


def test_one_that_begins_while_others_wait_sets_the_time() -> None:
    world = World()
    world.wait("a")
    world.stalled(6)
    assert world.stalls.deadline == NEVER
    world.stalled(1)
    assert world.stalls.deadline == 102.0


@pytest.mark.parametrize(("connections", "most"), [(1, 0), (2, 1), (4, 3), (256, 192)])
def test_something_is_left_to_others_however_small_the_pool(connections: int, most: int) -> None:
    world = World(connections)
    slow = world.stalled(connections)
    for _ in range(connections):
        world.wait("a")
    world.now += 5
    world.stalls.make_room()
    assert given_way(slow) == list(range(connections - most))


def test_nothing_is_watched_after_the_end() -> None:
    world = World()
    world.wait("a")
    world.stalled(8)
    assert world.is_watched
    world.stalls.close()
    assert not world.is_watched
