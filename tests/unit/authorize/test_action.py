"""Actions and the patterns that match them."""

import pytest

from sidecar.authorize.action import is_action_pattern, patterns_of


@pytest.mark.parametrize(
    ("action", "patterns"),
    [
        ("read", ("read", "*")),
        ("orders:read", ("orders:read", "orders:*", "*")),
        ("a:b:c", ("a:b:c", "a:b:*", "a:*", "*")),
        ("a.b_c-1:D", ("a.b_c-1:D", "a.b_c-1:*", "*")),
        ("", ()),
        ("*", ()),
        ("orders:*", ()),
        ("orders:", ()),
        (":read", ()),
        ("a b", ()),
        ("a\n", ()),
        (":".join("abcdefgh"), None),
        (":".join("abcdefghi"), ()),
        ("x" * 257, ()),
    ],
)
def test_patterns_of_an_action(action: str, patterns: tuple[str, ...] | None) -> None:
    found = patterns_of(action)
    assert found == patterns if patterns is not None else len(found) == 9
    assert all(is_action_pattern(pattern) for pattern in found)


@pytest.mark.parametrize("pattern", ["*", "read", "a:*", "a:b:*", "a:b", ":".join("abcdefgh")])
def test_patterns(pattern: str) -> None:
    assert is_action_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["", ":", "a:", "*:read", "a*", "a:*:b", "**", "a:**", "a\n", "x" * 257, ":".join("abcdefghi")],
)
def test_what_is_no_pattern(pattern: str) -> None:
    assert not is_action_pattern(pattern)
