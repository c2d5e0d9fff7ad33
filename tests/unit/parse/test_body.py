"""Bodies, fed whole and badly cut: the cut must never matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.parse.body import (
    BodyMalformedError,
    BodyReader,
    BodyTooLargeError,
    ChunkedBody,
    LengthBody,
    UntilCloseBody,
    chunk,
)


def feed_all(body: BodyReader, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Payload and rest after feeding `pieces`."""
    payload = b""
    for at, piece in enumerate(pieces):
        payload += body.feed(piece)
        if body.ended:
            return payload, body.rest + b"".join(pieces[at + 1 :])
    return payload, b""


def chunked() -> ChunkedBody:
    return ChunkedBody(64, 128)


def test_length() -> None:
    body = LengthBody(5)
    assert feed_all(body, [b"ab", b"cdeREST"]) == (b"abcde", b"REST")
    assert body.ended


def test_length_exactly_and_zero() -> None:
    body = LengthBody(3)
    assert body.feed(b"abc") == b"abc"
    assert (body.ended, body.rest) == (True, b"")
    assert LengthBody(0).ended


def test_until_close_never_ends_by_itself() -> None:
    body = UntilCloseBody()
    assert body.feed(b"abc") == b"abc"
    assert not body.ended


WELL_FORMED = [
    (b"0\r\n\r\n", b""),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    (b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789"),
    (b"003\r\nabc\r\n000\r\n\r\n", b"abc"),
    (b'3;name=value;q="x"\r\nabc\r\n0;last\r\n\r\n', b"abc"),
    (b"3 ;a\r\nabc\r\n0\r\n\r\n", b"abc"),
    (b"3\r\nabc\r\n0\r\nTrailer: x\r\nX-Auth-User: root\r\n\r\n", b"abc"),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
]


@pytest.mark.parametrize(("octets", "payload"), WELL_FORMED)
def test_chunked_whole_and_byte_by_byte(octets: bytes, payload: bytes) -> None:
    assert feed_all(chunked(), [octets + b"NEXT"]) == (payload, b"NEXT")
    single = [octets[at : at + 1] for at in range(len(octets))]
    body = chunked()
    assert feed_all(body, single) == (payload, b"")
    assert body.ended


@given(
    st.lists(st.binary(min_size=1, max_size=30), max_size=6),
    st.lists(st.integers(1, 7), min_size=1, max_size=30),
)
def test_chunks_survive_any_cut(payloads: list[bytes], cuts: list[int]) -> None:
    octets = b"".join(map(chunk, payloads)) + b"0\r\n\r\nNEXT"
    pieces, at, turn = [], 0, 0
    while at < len(octets):
        step = cuts[turn % len(cuts)]
        pieces.append(octets[at : at + step])
        at, turn = at + step, turn + 1
    body = chunked()
    assert feed_all(body, pieces) == (b"".join(payloads), b"NEXT")


MALFORMED = [
    b"\r\n",
    b"x\r\n",
    b"-1\r\n",
    b"+1\r\n",
    b"0x3\r\nabc\r\n",
    b" 3\r\nabc\r\n",
    b"3 \r\nabc\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabcd\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabc\rX",
    b"1" * 16 + b"\r\n",
    b"3;a\x00b\r\nabc\r\n",
    b"3;a\nb\r\nabc\r\n",
    b"3;a\rb\r\nabc\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\n: empty\r\n\r\n",
    b"0\r\n folded: x\r\n\r\n",
    b"0\r\nA: b\x00\r\n\r\n",
    b"0\r\nA: b\nC: d\r\n\r\n",
]


@pytest.mark.parametrize("octets", MALFORMED)
def test_malformed_chunks(octets: bytes) -> None:
    with pytest.raises(BodyMalformedError):
        feed_all(chunked(), [octets])
    with pytest.raises(BodyMalformedError):
        feed_all(chunked(), [octets[at : at + 1] for at in range(len(octets))])


@pytest.mark.parametrize(
    "octets",
    [
        b"3;" + b"x" * 100 + b"\r\nabc\r\n",
        b"3;" + b"x" * 100,
        b"0\r\n" + b"A: b\r\n" * 40 + b"\r\n",
        b"0\r\nA: " + b"b" * 200,
    ],
)
def test_bounds_on_framing(octets: bytes) -> None:
    with pytest.raises(BodyTooLargeError):
        feed_all(chunked(), [octets])
    with pytest.raises(BodyTooLargeError):
        feed_all(chunked(), [octets[at : at + 1] for at in range(len(octets))])


def test_one_empty_chunk_would_end_the_body() -> None:
    assert chunk(b"") == b""
    assert chunk(b"abc") == b"3\r\nabc\r\n"


@given(
    payloads=st.lists(st.binary(min_size=1, max_size=9), max_size=12),
    most=st.integers(1, 4),
    cut=st.integers(0, 60),
)
def test_work_in_parts_gives_the_same(payloads: list[bytes], most: int, cut: int) -> None:
    """No call reads many more chunks than it may, and nothing is lost or taken twice."""
    octets = b"".join(chunk(payload) for payload in payloads) + b"0\r\n\r\nREST"
    body = ChunkedBody(64, 128, most)
    got, pieces = b"", [octets[:cut], octets[cut:]]
    while not body.ended:
        found = body.feed(b"" if body.is_behind else pieces.pop(0))
        assert len(found) <= 9 * (most + 2)
        got += found
    assert (got, body.rest + b"".join(pieces)) == (b"".join(payloads), b"REST")


def test_a_bare_lf_is_not_waited_for() -> None:
    for octets in (b"5\nhello", b"0\r\nX: y\n"):
        with pytest.raises(BodyMalformedError):
            chunked().feed(octets)
