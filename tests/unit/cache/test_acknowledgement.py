"""When a revocation may be called applied: every condition, and each of them alone missing."""

import pytest

from sidecar.cache.acknowledgement import Bounds, Confirmation, Standing, standing
from sidecar.cache.following import Beat

BOUNDS = Bounds(lease=1.5, isolation=4.0)
OLD = 60.0


def member(name: str, watermark: int = 7, epoch: int = 1, age: float = 0.2) -> Confirmation:
    return Confirmation(name, watermark, epoch, age)


def ask(
    *members: Confirmation,
    head: int | None = 7,
    published_for: float = 0.01,
    epoch_age: float = OLD,
) -> Standing:
    return standing(
        7,
        None if head is None else Beat(head, 1, "a"),
        members,
        published_for=published_for,
        epoch_age=epoch_age,
        bounds=BOUNDS,
    )


def test_all_live_sidecars_have_confirmed() -> None:
    found = ask(member("a"), member("b", watermark=9))
    assert (found.applied, found.confirmed, found.waiting_for) == (True, ("a", "b"), ())


def test_nobody_is_there() -> None:
    assert ask().applied


@pytest.mark.parametrize(
    "late",
    [member("b", watermark=6), member("b", epoch=0), member("b", watermark=6, age=1.5)],
)
def test_one_has_not_confirmed(late: Confirmation) -> None:
    found = ask(member("a"), late)
    assert not found.applied
    assert (found.confirmed, found.waiting_for) == (("a",), ("b",))
    assert "1 sidecar" in found.why


@pytest.mark.parametrize("age", [1.6, 50.0, -3600.0])
def test_whoever_is_silent_by_the_clock_of_redis_is_waited_for(age: float) -> None:
    """Its clock may leap; the wait is by our own."""
    gone = member("gone", watermark=1, age=age)
    assert not ask(member("a"), gone).applied
    assert ask(member("a"), gone, published_for=1.6).applied


def test_after_a_lease_nobody_need_confirm() -> None:
    slow = member("b", watermark=6)
    assert not ask(slow, published_for=1.5).applied
    assert ask(slow, published_for=1.6).applied


def test_redis_must_know() -> None:
    assert not ask(head=6).applied
    assert not ask(head=None).applied
    assert not ask(published_for=-1.0).applied


def test_a_young_epoch_does_not_know_everybody() -> None:
    """A sidecar may still be served by an isolated old master."""
    assert not ask(epoch_age=5.4).applied
    assert not ask(epoch_age=5.4, published_for=OLD).applied
    assert ask(epoch_age=5.5).applied
