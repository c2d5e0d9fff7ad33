"""Resource patterns: the index agrees with comparing one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.authorize.resource import ResourceIndex, is_resource_pattern

SEGMENT = st.sampled_from(["a", "b", "c", "*"])
PATTERNS = st.builds(
    lambda segments, last: "/".join([*segments, last]),
    st.lists(SEGMENT, max_size=3),
    st.sampled_from(["a", "b", "*", "**"]),
).filter(lambda pattern: pattern != "*")
RESOURCES = st.lists(st.sampled_from(["a", "b", "c", "*", "**"]), max_size=4).map("/".join)


def matches(pattern: str, resource: str) -> bool:
    """Slow and plain."""
    if not resource:
        return False
    wanted, given_ = pattern.split("/"), resource.split("/")
    if wanted[-1] == "**":
        wanted, given_ = (
            wanted[:-1],
            given_[: len(wanted) - 1] if len(given_) >= len(wanted) else [],
        )
        if not given_ and (wanted or not resource):
            return False
    if len(wanted) != len(given_):
        return False
    return all(one in {"*", other} for one, other in zip(wanted, given_, strict=True))


@given(patterns=st.lists(PATTERNS, max_size=12), resource=RESOURCES)
def test_the_index_agrees_with_comparing_one_by_one(patterns: list[str], resource: str) -> None:
    index: ResourceIndex[str] = ResourceIndex()
    for pattern in patterns:
        assert index.setdefault(pattern, pattern) == pattern
    expected = {pattern for pattern in patterns if matches(pattern, resource)}
    found = index.find_all(resource)
    assert sorted(found) == sorted(expected)
    one = index.find(resource)
    assert one in expected if expected else one is None


@pytest.mark.parametrize("pattern", ["a", "a/*", "a/**", "**"])
def test_the_first_value_of_a_pattern_stays(pattern: str) -> None:
    index: ResourceIndex[int] = ResourceIndex()
    assert index.setdefault(pattern, 1) == 1
    assert index.setdefault(pattern, 2) == 1


@pytest.mark.parametrize("pattern", ["*", "a", "a/b", "*/a", "a/*", "a/**", "**", "a//b", "/a"])
def test_patterns(pattern: str) -> None:
    assert is_resource_pattern(pattern)


@pytest.mark.parametrize("pattern", ["", "a*", "*a/b", "a/b*", "**/a", "a/**/b", "***", "a/b**"])
def test_what_is_no_pattern(pattern: str) -> None:
    assert not is_resource_pattern(pattern)


def test_a_deep_resource_ends_with_the_patterns() -> None:
    index: ResourceIndex[int] = ResourceIndex()
    index.setdefault("a/*/c", 1)
    assert index.find("/".join("a" * 10_000)) is None


@pytest.mark.parametrize("pattern", ["a/b", "a/*", "a/*/b", "a/**", "**"])
def test_a_value_can_be_replaced(pattern: str) -> None:
    index: ResourceIndex[int] = ResourceIndex()
    index.setdefault(pattern, 1)
    index.setdefault("a/c", 5)
    index.replace(pattern, 2)
    assert index.setdefault(pattern, 3) == 2
    assert index.setdefault("a/c", 6) == 5
