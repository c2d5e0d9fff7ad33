"""S3-FIFO: bounded whatever happens, and it keeps what is used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.s3fifo import S3Fifo

Cache = S3Fifo[int, int]


def test_a_value_is_found_and_counted() -> None:
    cache: Cache = S3Fifo(10)
    cache.put(1, 11)
    assert cache.get(1) == 11
    assert cache.get(2) is None
    assert (cache.hits, cache.misses, cache.evictions, len(cache)) == (1, 1, 0, 1)


def test_peek_counts_nothing() -> None:
    cache: Cache = S3Fifo(10)
    cache.put(1, 11)
    assert (cache.peek(1), cache.peek(2)) == (11, None)
    assert (cache.hits, cache.misses) == (0, 0)


def test_a_second_put_replaces() -> None:
    cache: Cache = S3Fifo(10)
    cache.put(1, 11)
    cache.put(1, 12)
    assert (cache.get(1), len(cache)) == (12, 1)


def test_a_flood_of_new_keys_evicts_nothing_in_use() -> None:
    cache: Cache = S3Fifo(100)
    for key in range(50):
        cache.put(key, key)
    for _ in range(3):
        for key in range(50):
            cache.get(key)
    for key in range(1_000, 11_000):
        cache.put(key, key)
    assert all(cache.get(key) == key for key in range(50))
    assert len(cache) == 100


def test_what_returns_soon_after_it_fell_out_goes_to_the_main_queue() -> None:
    cache: Cache = S3Fifo(10)
    for key in range(11):
        cache.put(key, key)
    assert 0 not in cache
    cache.put(0, 0)
    for key in range(100, 108):
        cache.put(key, key)
    assert 0 in cache, "a key that never returned would be gone by now"


def test_an_unused_entry_of_the_main_queue_leaves_it() -> None:
    cache: Cache = S3Fifo(10)
    for key in range(10):
        cache.put(key, key)
    for key in range(10):
        cache.get(key)
        cache.get(key)
    for key in range(100, 130):
        cache.put(key, key)
        cache.get(key)
        cache.get(key)
    assert not any(key in cache for key in range(10))
    assert len(cache) == 10


def test_deleted_entries_leave_no_trace() -> None:
    cache: Cache = S3Fifo(10)
    cache.put(1, 1)
    assert cache.delete(1)
    assert not cache.delete(1)
    assert (cache.get(1), len(cache), cache.evictions) == (None, 0, 0)


def use(cache: Cache, *keys: int) -> None:
    """Often enough to be worth a place in the main queue."""
    for key in (*keys, *keys):
        cache.get(key)


def test_deleted_entries_of_the_main_queue_give_their_place() -> None:
    cache: Cache = S3Fifo(10)
    for key in range(10):
        cache.put(key, key)
    use(cache, *range(10))
    cache.put(10, 10)
    assert 0 not in cache, "the main queue has nine places"
    for key in (1, 5):
        cache.delete(key)
    for key in range(11, 15):
        cache.put(key, key)
        use(cache, key)
    assert {1, 5}.isdisjoint(cache)
    assert {2, 3, 4, 6, 7, 8, 9} - set(cache) == {2}, "their places were taken first"
    assert len(cache) == 10


def test_deleted_entries_of_the_small_queue_are_passed_over() -> None:
    cache: Cache = S3Fifo(10)
    for key in range(10):
        cache.put(key, key)
    cache.delete(0)
    cache.put(10, 10)
    cache.put(11, 11)
    assert set(cache) == {2, 3, 4, 5, 6, 7, 8, 9, 10, 11}


def test_used_entries_take_turns() -> None:
    cache: Cache = S3Fifo(10)
    for key in range(10):
        cache.put(key, key)
    use(cache, *range(10))
    cache.put(10, 10)
    use(cache, *range(1, 9), 10)
    cache.put(11, 11)
    assert 9 not in cache, "the only one of the main queue that was not used since"
    assert set(range(1, 9)) <= set(cache)


def test_tombstones_are_bounded() -> None:
    cache: Cache = S3Fifo(100)
    for key in range(10_000):
        cache.put(key, key)
        cache.delete(key)
    queued = len(cache._small) + len(cache._main)
    assert queued <= 2 * len(cache) + 33


def test_clear_forgets_entries_and_keeps_counters() -> None:
    cache: Cache = S3Fifo(10)
    cache.put(1, 1)
    cache.get(1)
    cache.clear()
    assert (len(cache), cache.hits, list(cache)) == (0, 1, [])


def test_a_cache_has_room_for_one() -> None:
    with pytest.raises(ValueError, match="at least one"):
        S3Fifo(0)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "get", "get", "get", "delete"]),
        st.integers(0, 12),
        st.integers(),
    ),
    min_size=50,
    max_size=300,
)


@given(capacity=st.integers(1, 10), operations=OPERATIONS)
def test_bounded_and_never_wrong(capacity: int, operations: list[tuple[str, int, int]]) -> None:
    cache: Cache = S3Fifo(capacity)
    model: dict[int, int] = {}
    for verb, key, value in operations:
        if verb == "put":
            cache.put(key, value)
            model[key] = value
            assert cache.peek(key) == value
        elif verb == "delete":
            assert cache.delete(key) <= (key in model)
            model.pop(key, None)
        else:
            found = cache.get(key)
            assert found is None or found == model[key]
        assert len(cache) <= capacity
        assert len(cache._ghosts) <= capacity
        assert cache._small_alive + cache._main_alive == len(cache)
        assert len(cache._small) + len(cache._main) <= 2 * capacity + 66


def test_what_is_used_often_can_be_told() -> None:
    cache: S3Fifo[str, int] = S3Fifo(10)
    for key in "abc":
        cache.put(key, 1)
    for key in "aab":
        cache.get(key)
    assert cache.in_use(5) == ["a"]
    cache.get("b")
    assert cache.in_use(1) == ["a"]
    assert cache.in_use(5) == ["a", "b"]
