"""What is remembered stays within its octets, whatever the number of entries."""

from sidecar.cache.memo import Memo


def test_what_was_kept_is_there() -> None:
    memo = Memo[str, int](100)
    memo.keep("a", 1, 50)
    memo.keep("b", 2, 50)
    assert (memo.get("a"), memo.get("b"), memo.get("c"), memo.kept_bytes) == (1, 2, None, 100)


def test_all_is_forgotten_where_there_would_be_too_much() -> None:
    memo = Memo[str, int](100)
    memo.keep("a", 1, 50)
    memo.keep("b", 2, 51)
    assert (dict(memo), memo.kept_bytes) == ({"b": 2}, 51)


def test_what_comes_again_counts_again() -> None:
    memo = Memo[str, int](100)
    for value in range(3):
        memo.keep("a", value, 40)
    assert (dict(memo), memo.kept_bytes) == ({"a": 2}, 40)
