"""The canonical form of targets: what is decided is what is forwarded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.decision import Denial
from sidecar.model.reason import Reason
from sidecar.parse.target import Target, read_target

CANONICAL = [
    (b"/", "/", b"/"),
    (b"/api/orders/42", "/api/orders/42", b"/api/orders/42"),
    (b"/a/", "/a/", b"/a/"),
    (b"/a?b=c&d=%2F..%2F", "/a", b"/a?b=c&d=%2F..%2F"),
    (b"/a?", "/a", b"/a?"),
    (b"/a?x?y", "/a", b"/a?x?y"),
    (b"/a?[]{}|\\^`", "/a", b"/a?[]{}|\\^`"),
    (b"/%41%7e", "/A~", b"/A~"),
    (b"/a%c3%a9", "/a%C3%A9", b"/a%C3%A9"),
    (b"/a%20b", "/a%20b", b"/a%20b"),
    (b"/.well-known/x", "/.well-known/x", b"/.well-known/x"),
    (b"/...", "/...", b"/..."),
    (b"/a..b/c.", "/a..b/c.", b"/a..b/c."),
    (b'/[x]{"y"}', "/%5Bx%5D%7B%22y%22%7D", b"/%5Bx%5D%7B%22y%22%7D"),
    (b"http://example.com/a?b", "/a", b"/a?b"),
    (b"HTTP://example.com", "/", b"/"),
    (b"https://example.com?x", "/", b"/?x"),
]

REFUSED = [
    b"",
    b"*",
    b"a",
    b"example.com:443",
    b"//",
    b"//example.com/a",
    b"/a//b",
    b"/a/./b",
    b"/a/../b",
    b"/a/..",
    b"/..",
    b"/.",
    b"/./",
    b"/%2e%2e/a",
    b"/a/%2E",
    b"/.%2e/a",
    b"/a%2fb",
    b"/a%2Fb",
    b"/a%5cb",
    b"/a\\b",
    b"/a;b",
    b"/a;x=1/b",
    b"/a%3bb",
    b"/a%00",
    b"/a%0a",
    b"/a%7f",
    b"/a%252e",
    b"/a%",
    b"/a%4",
    b"/a%zz",
    b"/a%u002e",
    b"/a%c0%af",
    b"/a%e0%80%af",
    b"/a%ff",
    b"/a%ed%a0%80",
    b"/a\xc3\xa9",
    b"/a?b#c",
    b"/a#b",
    b"/a?\xc3",
    b"ftp://example.com/a",
    b"http:///a",
]


@pytest.mark.parametrize(("raw", "path", "target"), CANONICAL)
def test_canonical_form(raw: bytes, path: str, target: bytes) -> None:
    found = read_target(raw)
    assert isinstance(found, Target)
    assert (found.path, found.target) == (path, target)


@pytest.mark.parametrize("raw", REFUSED)
def test_targets_with_two_readings_are_refused(raw: bytes) -> None:
    found = read_target(raw)
    assert isinstance(found, Denial)
    assert found.reason is Reason.MALFORMED_TARGET
    assert found.detail


def test_authority_of_an_absolute_target() -> None:
    found = read_target(b"http://Example.com:81/a")
    assert isinstance(found, Target)
    assert found.authority == b"Example.com:81"


@given(st.binary(max_size=40).map(lambda tail: b"/" + tail))
def test_the_canonical_form_is_a_fixed_point(raw: bytes) -> None:
    """What is accepted reads the same when read again: the upstream sees no other path."""
    found = read_target(raw)
    if isinstance(found, Target):
        again = read_target(found.target)
        assert isinstance(again, Target)
        assert (again.path, again.target) == (found.path, found.target)
        assert found.target.startswith(found.path.encode())


_PARTS = st.sampled_from(b"/ .. . %2e %2f %5c a %61 ; % %25 ? \\ //".split())


@given(st.lists(_PARTS, max_size=8).map(lambda parts: b"/" + b"".join(parts)))
def test_no_accepted_path_can_climb(raw: bytes) -> None:
    found = read_target(raw)
    if isinstance(found, Target):
        segments = found.path.split("/")[1:]
        assert not {".", ".."} & set(segments)
        assert "" not in segments[:-1]
        assert "\\" not in found.path
        assert "%2" not in found.path.upper().replace("%20", "")
