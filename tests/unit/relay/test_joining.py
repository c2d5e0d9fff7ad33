"""Messages are whole whatever way their frames are cut."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.relay.frames import Frames
from sidecar.relay.joining import Joiner, Whole
from tests.unit.relay.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame


def joiner(*, masked: bool = True) -> Joiner:
    return Joiner(
        Frames(is_masked=masked, compresses=False, frame_bytes=100_000, message_bytes=100_000)
    )


FIRST, LAST = frame(TEXT, b"a" * 130, final=False), frame(CONTINUATION, b"b" * 3)
WHOLES = [
    Whole(BINARY, b"small", frame(BINARY, b"small")),
    Whole(PING, b"between", frame(PING, b"between")),
    Whole(TEXT, b"a" * 130 + b"b" * 3, FIRST + LAST),
    Whole(TEXT, b"", frame(TEXT)),
    Whole(BINARY, b"x" * 70_000, frame(BINARY, b"x" * 70_000)),
    Whole(CLOSE, b"", frame(CLOSE)),
]
OCTETS = (
    WHOLES[0].octets
    + FIRST
    + WHOLES[1].octets
    + LAST
    + b"".join(each.octets for each in WHOLES[3:])
)


@given(st.lists(st.integers(0, len(OCTETS)), max_size=12).map(sorted))
def test_whatever_way_they_are_cut(places: list[int]) -> None:
    made = joiner()
    found: list[Whole] = []
    for begin, end in zip([0, *places], [*places, len(OCTETS)], strict=True):
        found += made.feed(OCTETS[begin:end])
    assert found == WHOLES
    assert made.kept_bytes == 0


def test_octet_by_octet() -> None:
    made = joiner(masked=False)
    octets = frame(TEXT, b"a", final=False, masked=False) + frame(
        CONTINUATION, b"b" * 200, masked=False
    )
    found = [whole for at in range(len(octets)) for whole in made.feed(octets[at : at + 1])]
    assert found == [Whole(TEXT, b"a" + b"b" * 200, octets)]


def test_what_is_kept_is_told() -> None:
    made = joiner()
    made.feed(FIRST)
    assert made.kept_bytes == len(FIRST) + 130
    made.feed(frame(CONTINUATION, b"x" * 1000)[:500])
    assert made.kept_bytes == len(FIRST) + 130 + 500
