"""Frames: what goes on, what is held, what is a violation; fed whole and octet by octet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.relay.closing import Code
from sidecar.relay.frames import Frames
from tests.unit.relay.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    closing,
    frame,
)

RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10


def watcher(
    *, masked: bool = True, compresses: bool = False, frame: int = 70_000, message: int = 70_000
) -> Frames:
    return Frames(is_masked=masked, compresses=compresses, frame_bytes=frame, message_bytes=message)


def cuts(octets: bytes) -> list[list[bytes]]:
    """The same octets whole, one by one, and in two halves at each of the first places."""
    ways = [[octets], [octets[at : at + 1] for at in range(len(octets))]]
    ways += [[octets[:at], octets[at:]] for at in range(1, min(len(octets), 40))]
    return ways


SOUND = {
    "text": frame(TEXT, b"hello"),
    "empty": frame(TEXT),
    "binary": frame(BINARY, b"\x00\xff"),
    "largest small": frame(TEXT, b"x" * 125),
    "smallest with two octets": frame(TEXT, b"x" * 126),
    "largest with two octets": frame(BINARY, b"x" * 65_535),
    "with eight octets": frame(BINARY, b"x" * 65_536),
    "ping": frame(PING, b"x" * 125),
    "pong unasked": frame(PONG),
    "fragments": frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"b"),
    "empty fragments": frame(TEXT, final=False)
    + frame(CONTINUATION, final=False)
    + frame(CONTINUATION),
    "ping between fragments": frame(TEXT, b"a", final=False)
    + frame(PING, b"p")
    + frame(CONTINUATION, b"b")
    + frame(TEXT, b"c"),
    "two": frame(TEXT, b"one") + frame(BINARY, b"two"),
    "close": frame(TEXT, b"bye") + frame(CLOSE),
    "close with code": frame(CLOSE, closing(1000, "tschüß".encode())),
    "close with a code of applications": frame(CLOSE, closing(4999)),
}


@pytest.mark.parametrize("octets", SOUND.values(), ids=SOUND.keys())
def test_sound_frames_go_on_unchanged_however_they_are_cut(octets: bytes) -> None:
    for pieces in cuts(octets) if len(octets) < 1000 else [[octets], [octets[:7], octets[7:]]]:
        frames = watcher()
        assert b"".join(map(frames.feed, pieces)) == octets
        assert frames.violation is None
        assert frames.at_boundary


@pytest.mark.parametrize("masked", [True, False])
def test_only_a_direction_s_own_masking(masked: bool) -> None:
    for size in (0, 1, 2, 4, 122, 123, 124, 125, 126, 130):
        right, wrong = watcher(masked=masked), watcher(masked=not masked)
        octets = frame(TEXT, b"x" * size, masked=masked)
        assert right.feed(octets) == octets
        assert wrong.feed(octets) == b""
        assert wrong.violation is not None
        assert wrong.violation.code is Code.PROTOCOL_ERROR


# What RFC 6455 forbids: the name, the octets, the code.
VIOLATIONS = {
    "reserved bit 1": (frame(TEXT, b"x", reserved=RSV1), 1002),
    "reserved bit 2": (frame(TEXT, b"x", reserved=RSV2), 1002),
    "reserved bit 3": (frame(TEXT, b"x", reserved=RSV3), 1002),
    "reserved bit of a ping": (frame(PING, reserved=RSV1), 1002),
    **{f"opcode {code}": (frame(code, b"x"), 1002) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "ping in fragments": (frame(PING, b"x", final=False), 1002),
    "close in fragments": (frame(CLOSE, final=False), 1002),
    "large ping": (frame(PING, b"x" * 126), 1002),
    "large close": (frame(CLOSE, closing(1000, b"x" * 124)), 1002),
    "ping with a long length": (frame(PING, b"x", wide=2), 1002),
    "length of two octets for few": (frame(TEXT, b"x" * 125, wide=2), 1002),
    "length of eight octets for few": (frame(TEXT, b"x" * 200, wide=8), 1002),
    "length over 2^63": (bytes((0x82, 0xFF)) + b"\xff" * 8 + b"mask", 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "message within a message": (frame(TEXT, b"a", final=False) + frame(TEXT, b"b"), 1002),
    "compressed continuation": (
        frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"b", reserved=RSV1), 1002,
    ),
    "half a code": (frame(CLOSE, b"\x03"), 1002),
    **{
        f"code {code}": (frame(CLOSE, closing(code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535)
    },
    "reason that is no text": (frame(CLOSE, closing(1000, b"\xff")), 1007),
    "frame too large": (frame(BINARY, b"x" * 1001), 1009),
    "message too large": (
        frame(BINARY, b"x" * 999, final=False) + frame(CONTINUATION, b"x" * 502), 1009,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("octets", "code"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_violations_end_what_goes_on(octets: bytes, code: int) -> None:
    before = frame(TEXT, b"before")
    for pieces in cuts(before + octets + frame(TEXT, b"after")):
        frames = watcher(frame=1000, message=1500)
        gone = b"".join(map(frames.feed, pieces))
        assert frames.violation is not None
        assert frames.violation.code == code
        assert frames.has_ended
        # What went on is whole frames, of which the offending one is none.
        assert gone.startswith(before)
        assert not octets.startswith(gone.removeprefix(before) + octets[-1:])
        assert frames.at_boundary
        assert frames.feed(frame(TEXT, b"more")) == b""


def test_compressed_messages_where_that_was_agreed_on() -> None:
    octets = (
        frame(TEXT, b"x", reserved=RSV1)
        + frame(BINARY, b"x", reserved=RSV1, final=False)
        + frame(PING)
        + frame(CONTINUATION)
    )
    for pieces in cuts(octets):
        frames = watcher(compresses=True)
        assert b"".join(map(frames.feed, pieces)) == octets
        assert frames.messages == 2
    assert watcher(compresses=True).feed(frame(PING, reserved=RSV1)) == b""


@pytest.mark.parametrize(("payload", "code"), [(b"", 1005), (closing(1001), 1001)])
def test_nothing_goes_on_after_a_close(payload: bytes, code: int) -> None:
    close = frame(CLOSE, payload)
    for pieces in cuts(frame(TEXT, b"a") + close + frame(TEXT, b"after")):
        frames = watcher()
        assert b"".join(map(frames.feed, pieces)) == frame(TEXT, b"a") + close
        assert (frames.close_code, frames.close_bytes) == (code, len(close))


def test_headers_and_closes_are_held_until_they_are_whole() -> None:
    frames = watcher()
    octets = frame(TEXT, b"x" * 300)
    assert [frames.feed(octets[at : at + 1]) for at in range(7)] == [b""] * 7
    assert frames.at_boundary
    assert frames.feed(octets[7:10]) == octets[:10]
    assert not frames.at_boundary
    assert frames.feed(octets[10:]) == octets[10:]
    close = frame(CLOSE, closing(1000, b"why"))
    assert frames.feed(close[:-1]) == b""
    assert frames.at_boundary
    assert frames.feed(close[-1:]) == close


def test_messages_are_counted_once_each() -> None:
    frames = watcher()
    frames.feed(frame(TEXT, b"a"))
    frames.feed(frame(TEXT, b"b" * 200) + frame(PING) + frame(BINARY, final=False))
    frames.feed(frame(CONTINUATION))
    assert frames.messages == 3


def test_limits_are_of_one_message_each() -> None:
    frames = watcher(frame=125, message=130)
    for _ in range(3):
        frames.feed(frame(TEXT, b"x" * 70, final=False))
        frames.feed(frame(CONTINUATION, b"x" * 60))
    assert frames.violation is None
    assert (frames.messages, frames.at_boundary) == (3, True)


_FRAME = st.builds(
    frame,
    st.sampled_from((TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG, 3)),
    st.binary(max_size=140),
    final=st.booleans(),
    reserved=st.sampled_from((0, 0, 0, RSV1)),
    masked=st.sampled_from((True, True, True, False)),
    wide=st.sampled_from((0, 0, 0, 2, 8)),
)
_OCTETS = st.one_of(
    st.lists(_FRAME, max_size=6).map(b"".join),
    st.binary(max_size=60),
)


@given(_OCTETS, st.data())
def test_how_octets_are_cut_changes_nothing(octets: bytes, chance: st.DataObject) -> None:
    whole, cut = watcher(frame=125, message=200), watcher(frame=125, message=200)
    gone = whole.feed(octets)
    places = sorted(chance.draw(st.lists(st.integers(0, len(octets)), max_size=5)))
    pieces = [
        octets[begin:end] for begin, end in zip([0, *places], [*places, len(octets)], strict=True)
    ]
    assert b"".join(map(cut.feed, pieces)) == gone
    assert octets.startswith(gone)
    assert (cut.violation, cut.close_code, cut.messages, cut.at_boundary) == (
        whole.violation, whole.close_code, whole.messages, whole.at_boundary,
    )  # fmt: skip
