"""Names that came before are not looked at again: that must never show."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.head import FieldNames, RequestHead
from sidecar.parse import collector
from sidecar.parse.request import RequestReader

# Few names, so that heads are alike in all but one of them, or in the order of two.
NAMES: Final = st.sampled_from(("A", "a", "B", "Cookie", "cookie", "X-%s", "X_B"))
VALUES: Final = st.text("ab :,%\t", max_size=6)
FIELDS: Final = st.lists(st.tuples(NAMES, VALUES), max_size=6)

_READER: Final = RequestReader(target_bytes=100, most_fields=50)


def raw(fields: list[tuple[str, str]]) -> bytes:
    lines = "".join(f"{name}:{value}\r\n" for name, value in fields)
    return f"GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n".encode()


def read(reader: RequestReader, fields: list[tuple[str, str]]) -> RequestHead:
    head = reader.read(raw(fields))
    assert isinstance(head, RequestHead), head
    return head


@given(fields=FIELDS)
def test_each_head_has_its_own_names_and_values(fields: list[tuple[str, str]]) -> None:
    head = read(_READER, fields)
    expected = [(b"Host", b"h"), *((name.encode(), v.strip(" \t").encode()) for name, v in fields)]
    assert [(name, value) for _, name, value in head.fields] == expected
    for lower in {name.lower() for name, _ in expected}:
        values = [value for name, value in expected if name.lower() == lower]
        assert (head.value(lower), head.values(lower)) == (values[0], values)
        assert (lower in head.names.repeated) is (len(values) > 1)
    assert head.first == {name: head.value(name) for name in head.first}
    assert head.repeated == {name: head.values(name) for name in head.repeated}


def test_names_are_shared_by_heads_that_have_the_same() -> None:
    reader = RequestReader(target_bytes=100, most_fields=50)
    one, two = read(reader, [("A", "1"), ("B", "2")]), read(reader, [("A", "3"), ("B", "")])
    assert one.names is two.names
    for other in ([("B", "2"), ("A", "1")], [("a", "1"), ("B", "2")], [("A", "1")]):
        assert read(reader, other).names is not one.names
    assert one.values(b"a") == [b"1"]


@pytest.mark.parametrize("fields", [[("N", "")] * 80, [("N" * 3000, "")]])
def test_names_that_are_too_many_or_too_long_are_not_remembered(
    fields: list[tuple[str, str]],
) -> None:
    reader = RequestReader(target_bytes=100, most_fields=100)
    one, two = read(reader, fields), read(reader, fields)
    assert one.names.received == two.names.received
    assert not one.names.is_shared
    assert one.names is not two.names


def test_random_names_take_a_bounded_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_MOST_BYTES", 3_000)
    reader = RequestReader(target_bytes=100, most_fields=50)
    for number in range(20):
        assert read(reader, [(f"N{number}", "x")]).value(b"n%d" % number) == b"x"
        assert len(reader._remembered) <= 3  # how much it keeps cannot be asked


def test_what_names_say_of_a_message() -> None:
    assert FieldNames((b"Host", b"Accept")).of_message == frozenset()
    names = FieldNames((b"Connection", b"EXPECT", b"Upgrade", b"Content-Length"))
    assert names.of_message == {b"connection", b"expect", b"upgrade", b"content-length"}
