"""The heap of ends: one place for each life, and none for who is gone."""

import gc
import math
import weakref
from types import SimpleNamespace
from typing import Any, cast

from sidecar.relay.life import Life
from sidecar.relay.register import Register


class FakeLife:
    """Of nobody, until a time."""

    def __init__(self, ends: float) -> None:
        self.permit: Any = SimpleNamespace(principal=None, expires_at=ends)
        self.credential = None
        self.is_over = False


def added(register: Register, ends: float) -> FakeLife:
    life = FakeLife(ends)
    register.add(cast("Life", life))
    return life


def expect(register: Register, life: FakeLife, ends: float) -> None:
    life.permit.expires_at = ends
    register.expect_end(cast("Life", life))


def ended(register: Register, now: float) -> list[object]:
    return list(register.ended(now))


def test_who_is_gone_is_not_kept() -> None:
    register = Register()
    life = added(register, 1e9)
    register.discard(cast("Life", life))
    known = weakref.ref(life)
    del life
    gc.collect()
    assert known() is None
    assert ended(register, 2e9) == []


def test_what_is_struck_out_goes_when_it_is_the_larger_part() -> None:
    register = Register()
    stays = [added(register, 1e9 + number) for number in range(100)]
    for _ in range(10_000):
        register.discard(cast("Life", added(register, 1e9)))
    assert len(register._ends) <= 202
    assert ended(register, 2e9) == stays
    assert not register._ends
    assert not register._end_of
    assert register._struck == 0


def test_later_and_later_ends_take_one_place() -> None:
    register = Register()
    life = added(register, 100.0)
    for number in range(1000):
        expect(register, life, 200.0 + number)
    assert len(register._ends) == 1
    assert ended(register, 150.0) == []
    assert ended(register, 1198.0) == []
    assert ended(register, 1199.0) == [life]


def test_sooner_ends_count_at_once() -> None:
    register = Register()
    life = added(register, 100.0)
    for _ in range(1000):
        expect(register, life, 50.0)
        expect(register, life, 100.0)
    assert len(register._ends) <= 2
    expect(register, life, 40.0)
    assert ended(register, 40.0) == [life]
    assert ended(register, 1000.0) == []


def test_an_end_that_will_not_come_is_put_off_for_good() -> None:
    register = Register()
    life = added(register, 100.0)
    expect(register, life, math.inf)
    assert ended(register, 1000.0) == []
    assert not register._ends


def test_who_is_gone_gets_no_place_again() -> None:
    register = Register()
    life = added(register, 100.0)
    register.discard(cast("Life", life))
    register.expect_end(cast("Life", life))
    assert not register._end_of
