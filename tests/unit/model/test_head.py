"""The names of a head know how much memory they take."""

import tracemalloc

import pytest

from sidecar.model.head import FieldNames

_MADE = 50


def made(many: int, long: int, times: int) -> FieldNames:
    """So `many` names of so many octets, each of them so many `times`."""
    names = [b"N%d" % (place // times) for place in range(many)]
    return FieldNames(tuple([name.ljust(long, b"x") for name in names]), is_shared=True)


@pytest.mark.parametrize("many", [1, 2, 5, 6, 10, 11, 22, 43, 64])
@pytest.mark.parametrize("long", [8, 32, 500])
@pytest.mark.parametrize("times", [1, 2, 3, 64])
def test_names_take_no_more_than_they_tell(many: int, long: int, times: int) -> None:
    made(many, long, times)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [made(many, long, times) for _ in range(_MADE)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    taken = (after - before) / _MADE
    assert taken <= kept[0].kept_bytes <= 1.7 * taken
