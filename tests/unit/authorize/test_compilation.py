"""Compiling in slices: what counts, what ends it, and that nothing is lost between two of them."""

import pytest

from sidecar.authorize.compilation import SLICE, STEP, Compilation, Steps, in_steps


def counting(steps: list[int]) -> Steps[str]:
    yield from steps
    return "made"


def test_what_fits_into_one_slice_is_made_at_once() -> None:
    work = Compilation(counting([SLICE - 1]))
    assert work.advance()
    assert work.made == "made"
    assert work.step() == 0


@pytest.mark.parametrize(
    ("steps", "slices"),
    [([SLICE], 2), ([STEP] * 10, 2), ([STEP] * 25, 3), ([1] * (SLICE - 1), 1), ([5 * SLICE], 2)],
)
def test_a_slice_ends_when_its_budget_is_spent(steps: list[int], slices: int) -> None:
    work = Compilation(counting(steps))
    done = [work.advance() for _ in range(slices)]
    assert done == [False] * (slices - 1) + [True]
    assert work.made == "made"


def test_a_smaller_budget_makes_more_slices() -> None:
    work = Compilation(counting([10] * 3))
    assert [work.advance(10) for _ in range(4)] == [False, False, False, True]


def test_an_error_ends_it_without_a_result() -> None:
    def broken() -> Steps[str]:
        yield SLICE
        raise ZeroDivisionError

    work = Compilation(broken())
    assert not work.advance()
    with pytest.raises(ZeroDivisionError):
        work.advance()
    assert (work.is_over, work.made) == (True, None)
    assert work.advance()


@pytest.mark.parametrize("count", [0, 1, STEP, STEP + 1, 3 * STEP])
def test_steps_leave_nothing_out(count: int) -> None:
    items = tuple(range(count))
    steps = list(in_steps(items))
    assert [item for step in steps for item in step] == list(items)
    assert all(0 < len(step) <= STEP for step in steps)
