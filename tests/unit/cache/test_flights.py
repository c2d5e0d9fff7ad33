"""Every order in which a read, those who wait for it and an invalidation can meet."""

from sidecar.cache.flights import Flight, Flights
from sidecar.model.need import Need, RolesNeed, SessionNeed, UserNeed

ALICE = UserNeed("acme", "alice")
BOB = UserNeed("acme", "bob")


def boarded(flights: Flights[str], waiter: str, *, leased: bool = True) -> Flight[str] | None:
    return flights.board(ALICE, waiter, leased=leased)


def started(flights: Flights[str], waiter: str = "first") -> Flight[str]:
    flight = boarded(flights, waiter)
    assert flight is not None
    return flight


def test_under_a_lease_all_share_one_read() -> None:
    flights = Flights[str]()
    flight = started(flights)
    assert boarded(flights, "second") is None
    assert flight.waiters == ["first", "second"]
    assert flights.land(flight) is None
    assert len(flights) == 0


def test_after_landing_a_new_read_starts() -> None:
    flights = Flights[str]()
    flight = started(flights)
    flights.land(flight)
    again = started(flights, "later")
    assert again is not flight
    assert again.waiters == ["later"]


def test_different_needs_do_not_share() -> None:
    flights = Flights[str]()
    alice = started(flights)
    bob = flights.board(BOB, "other", leased=True)
    assert bob is not None
    assert bob is not alice
    assert len(flights) == 2


def test_who_comes_after_the_doom_is_not_served_by_the_doomed() -> None:
    flights = Flights[str]()
    doomed = started(flights)
    assert flights.doom(ALICE) == []
    assert doomed.doomed
    after = started(flights, "after")
    assert after is not doomed
    assert doomed.waiters == ["first"]
    # The doomed one lands while its successor flies, and changes nothing.
    assert flights.land(doomed) is None
    assert boarded(flights, "third") is None
    assert after.waiters == ["after", "third"]
    assert not after.doomed


def test_landing_then_doom_leaves_the_landed_alone() -> None:
    flights = Flights[str]()
    flight = started(flights)
    flights.land(flight)
    assert flights.doom(ALICE) == []
    assert not flight.doomed


def test_doom_of_another_need_is_not_felt() -> None:
    flights = Flights[str]()
    flight = started(flights)
    flights.doom(BOB)
    assert not flight.doomed
    assert boarded(flights, "second") is None


def test_without_a_lease_nobody_joins_what_started_and_all_share_the_next() -> None:
    flights = Flights[str]()
    first = started(flights)
    assert boarded(flights, "second", leased=False) is None
    assert boarded(flights, "third", leased=False) is None
    assert first.waiters == ["first"]
    following = flights.land(first)
    assert following is not None
    assert following.waiters == ["second", "third"]
    # It has started now: without a lease the next one waits again.
    assert boarded(flights, "fourth", leased=False) is None
    assert following.waiters == ["second", "third"]
    last = flights.land(following)
    assert last is not None
    assert last.waiters == ["fourth"]
    assert flights.land(last) is None


def test_doom_starts_the_one_that_waited_at_once() -> None:
    flights = Flights[str]()
    first = started(flights)
    boarded(flights, "second", leased=False)
    [following] = flights.doom(ALICE)
    assert following.waiters == ["second"]
    assert not following.doomed
    # Under a lease again, newcomers share the one that runs now.
    assert boarded(flights, "third", leased=True) is None
    assert following.waiters == ["second", "third"]
    assert flights.land(first) is None
    assert flights.land(following) is None
    assert len(flights) == 0


def test_doom_twice_dooms_both() -> None:
    flights = Flights[str]()
    first = started(flights)
    flights.doom(ALICE)
    second = started(flights, "second")
    flights.doom(ALICE)
    assert first.doomed
    assert second.doomed
    assert len(flights) == 0


def test_landing_twice_is_landing_once() -> None:
    flights = Flights[str]()
    first = started(flights)
    flights.land(first)
    second = started(flights, "second")
    assert flights.land(first) is None
    assert boarded(flights, "third") is None
    assert second.waiters == ["second", "third"]


def test_lonely_flights_are_not_shared_but_doomed_alike() -> None:
    flights = Flights[str]()
    one = flights.alone(ALICE, "one")
    two = flights.alone(ALICE, "two")
    shared = started(flights, "three")
    assert len(flights) == 3
    assert flights.land(one) is None
    flights.doom(ALICE)
    assert (one.doomed, two.doomed, shared.doomed) == (False, True, True)


def test_landing_alone_does_not_start_what_waits_for_another() -> None:
    flights = Flights[str]()
    started(flights)
    alone = flights.alone(ALICE, "alone")
    boarded(flights, "second", leased=False)
    assert flights.land(alone) is None


def test_doom_where_dooms_what_it_concerns() -> None:
    flights = Flights[str]()
    needs: list[Need] = [ALICE, BOB, RolesNeed("acme"), UserNeed("other", "x"), SessionNeed(b"", 1)]
    all_of_them = [flights.alone(need, "w") for need in needs]
    waiting = started(flights, "open")
    boarded(flights, "queued", leased=False)
    restarted = flights.doom_where(lambda need: isinstance(need, UserNeed) and need[0] == "acme")
    assert [flight.waiters for flight in restarted] == [["queued"]]
    assert waiting.doomed
    assert [flight.doomed for flight in all_of_them] == [True, True, False, False, False]
