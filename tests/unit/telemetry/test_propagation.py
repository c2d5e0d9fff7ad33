"""Trace contexts: what is read, what is begun, what is continued."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.head import RequestHead
from sidecar.parse.request import unread_head
from sidecar.telemetry.context import continues, is_random, received, span_id, trace_id
from sidecar.telemetry.propagation import Mode, Propagation
from sidecar.telemetry.sampling import Budget

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01".encode()


def asking(*values: bytes) -> RequestHead:
    head = unread_head()
    head.set_fields([(b"traceparent", value) for value in values])
    return head


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (GIVEN, GIVEN),
        (GIVEN[:-2] + b"ff", GIVEN[:-2] + b"ff"),
        # Section 3.2.4: of a later version what is known is read, and written as version 00.
        (b"cc" + GIVEN[2:], GIVEN),
        (b"cc" + GIVEN[2:] + b"-what-the-future-will-be-like", GIVEN),
        (b"cc" + GIVEN[2:] + b".what-the-future-will-not-be-like", None),
        (b"cc" + GIVEN[2:] + b"-" + b"a" * 600, None),
        (b"ff" + GIVEN[2:], None),
        (GIVEN + b"-more", None),
        (GIVEN + b"-", None),
        (GIVEN[:-1], None),
        (GIVEN.upper(), None),
        (b"00-" + b"0" * 32 + GIVEN[35:], None),
        (GIVEN[:36] + b"0" * 16 + b"-01", None),
        (GIVEN.replace(b"-", b"."), None),
        (GIVEN[:-2] + b"0g", None),
        (GIVEN[:-1] + b"\n", None),
        (b"", None),
    ],
)
def test_what_is_read(value: bytes, read: bytes | None) -> None:
    assert received(asking(value)) == read


def test_two_of_them_are_none() -> None:
    assert received(asking(GIVEN, GIVEN)) is None
    assert received(asking()) is None


@given(st.binary(max_size=80))
def test_nothing_else_is_taken_for_one(value: bytes) -> None:
    read = received(asking(value))
    assert read is None or re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", read)


def test_the_parts() -> None:
    assert (trace_id(GIVEN), span_id(GIVEN), is_random(GIVEN)) == (TRACE, SPAN, False)
    assert is_random(GIVEN[:-1] + b"3")


@pytest.mark.parametrize("mode", ["keep", "new", "off"])
@pytest.mark.parametrize("budget", [None, Budget(10)])
def test_ids_that_are_begun_are_distinct_and_random(mode: Mode, budget: Budget | None) -> None:
    propagation = Propagation(mode, 0.0, budget)
    begun = [propagation.begin(asking(), is_trusted=False, spans=2) for _ in range(1000)]
    if mode == "off" and budget is None:
        assert set(begun) == {b""}
        return
    for part in (slice(3, 35), slice(36, 52)):
        assert len({each[part] for each in begun}) == 1000
    assert {received(asking(each)) for each in begun} == set(begun)
    assert {each[52:] for each in begun} == {b"-02"}


def test_what_is_not_recorded_passes_through_unchanged() -> None:
    assert Propagation("keep").begin(asking(GIVEN), is_trusted=False, spans=2) == GIVEN


@pytest.mark.parametrize("flags", [b"00", b"01", b"02", b"03", b"ff"])
def test_what_is_continued_keeps_its_id_and_says_whether_that_is_random(flags: bytes) -> None:
    propagation, head = Propagation("keep", 0.0, Budget(10)), asking(GIVEN[:-2] + flags)
    going = propagation.begin(head, is_trusted=False, spans=2)
    assert going[:36] == GIVEN[:36]
    assert going[36:52] != GIVEN[36:52]
    # Bits that nobody has defined yet are not passed on (section 3.2.2.5).
    assert going[53:] == (b"02" if int(flags, 16) & 2 else b"00")
    assert continues(going, head)
    assert propagation.parent(head, going) == int(SPAN, 16)
    assert propagation.known(head)[:35] == GIVEN[:35]


@pytest.mark.parametrize("mode", ["new", "off"])
def test_what_is_begun_anew_has_no_parent(mode: Mode) -> None:
    propagation, head = Propagation(mode, 1.0, Budget(10)), asking(GIVEN)
    going = propagation.begin(head, is_trusted=True, spans=2)
    assert not continues(going, head)
    assert propagation.parent(head, going) == 0
    assert propagation.known(head) == b""
    assert going.endswith(b"-03")


def test_a_trace_that_another_request_named_is_no_parent() -> None:
    propagation = Propagation("keep", 1.0, Budget(10))
    begun = propagation.begin(asking(b"garbage"), is_trusted=True, spans=2)
    assert propagation.parent(asking(b"garbage"), begun) == 0
    assert propagation.parent(asking(GIVEN), begun) == 0
