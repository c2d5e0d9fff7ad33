"""Learning what comes next, doubting it, and spending little on it."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.foresight import MOST_SUCCESSORS, Budget, Foresight
from sidecar.model.need import RolesNeed, SessionNeed, StoreNeed, UserNeed

SESSION = SessionNeed(b"d" * 32, 3)
ALICE = UserNeed("acme", "alice")
ROLES = RolesNeed("acme")


def user(number: int) -> UserNeed:
    return UserNeed("acme", str(number))


def test_what_followed_once_is_expected_again() -> None:
    foresight = Foresight(10)
    assert foresight.successors(SESSION) == []
    foresight.learn(SESSION, (ALICE, ROLES))
    assert set(foresight.successors(SESSION)) == {ALICE, ROLES}
    assert foresight.successors(SessionNeed(b"e" * 32, 3)) == []


def test_one_mistake_silences_a_guess_until_it_is_seen_again() -> None:
    foresight = Foresight(10)
    foresight.learn(SESSION, (ALICE, ROLES))
    foresight.wrong(SESSION, ALICE)
    assert foresight.successors(SESSION) == [ROLES]
    foresight.learn(SESSION, (ALICE,))
    assert set(foresight.successors(SESSION)) == {ALICE, ROLES}


def test_what_proved_right_often_survives_a_mistake_and_not_many() -> None:
    foresight = Foresight(10)
    for _ in range(20):
        foresight.learn(SESSION, (ALICE,))
    foresight.wrong(SESSION, ALICE)
    foresight.wrong(SESSION, ALICE)
    assert foresight.successors(SESSION) == [ALICE]
    foresight.wrong(SESSION, ALICE)
    assert foresight.successors(SESSION) == []
    foresight.wrong(SESSION, ALICE)
    foresight.learn(SESSION, (ROLES,))
    foresight.wrong(SESSION, ALICE)
    assert foresight.successors(SESSION) == [ROLES]


def test_the_least_trusted_makes_room() -> None:
    foresight = Foresight(10)
    for _ in range(2):
        foresight.learn(SESSION, (user(1), user(2)))
    foresight.learn(SESSION, (user(3),))
    foresight.learn(SESSION, (user(4),))
    assert set(foresight.successors(SESSION)) == {user(1), user(2), user(4)}


def test_nothing_is_learned_from_nothing() -> None:
    foresight = Foresight(10)
    foresight.learn(SESSION, ())
    foresight.wrong(SESSION, ALICE)
    assert len(foresight) == 0


def test_what_is_gone_is_forgotten() -> None:
    foresight = Foresight(10)
    foresight.learn(SESSION, (ALICE,))
    foresight.forget(SESSION)
    assert foresight.successors(SESSION) == []
    assert len(foresight) == 0


def test_those_who_return_are_kept_through_a_flood() -> None:
    foresight = Foresight(100)
    foresight.learn(SESSION, (ALICE,))
    for number in range(1000):
        foresight.successors(SESSION)
        foresight.learn(SessionNeed(number.to_bytes(32), 3), (user(number),))
    assert len(foresight) <= 100
    assert foresight.successors(SESSION) == [ALICE]


steps = st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 6)), max_size=60)


@given(steps)
def test_it_is_bounded_and_knows_only_what_it_was_taught(
    steps: list[tuple[bool, int, int]],
) -> None:
    foresight = Foresight(3)
    taught: dict[StoreNeed, set[StoreNeed]] = {}
    for right, context, follower in steps:
        need = SessionNeed(bytes([context]) * 32, 1)
        if right:
            foresight.learn(need, (user(follower),))
            taught.setdefault(need, set()).add(user(follower))
            assert user(follower) in foresight.successors(need)
        else:
            before = foresight.successors(need)
            foresight.wrong(need, user(follower))
            assert set(foresight.successors(need)) <= set(before)
        assert len(foresight) <= 3
        for each, followers in taught.items():
            assert len(foresight.successors(each)) <= MOST_SUCCESSORS
            assert set(foresight.successors(each)) <= followers


def test_a_budget_is_a_rate_with_bursts_of_a_second() -> None:
    budget = Budget(10)
    assert [budget.take(100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not budget.take(100.05)
    assert budget.take(100.2)
    assert budget.take(100.2)
    assert not budget.take(100.2)
    assert sum(budget.take(1000.0) for _ in range(50)) == 10


def test_a_clock_that_stands_still_gives_nothing() -> None:
    budget = Budget(1)
    assert budget.take(5.0)
    assert not budget.take(5.0)
    assert not budget.take(4.0)


def test_a_budget_that_rests_spends_nothing() -> None:
    budget = Budget(10)
    budget.rest(101.0)
    budget.rest(100.5)
    assert not budget.take(100.9)
    assert budget.take(101.0)
