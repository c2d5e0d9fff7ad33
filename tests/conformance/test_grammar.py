"""A grammar that writes nearly valid requests, and oracles that need no expectation."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.harness import CUTS, TOKEN, Bench, bench

_METHODS = st.sampled_from(
    [b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"POST", b"get", b"G T"]
)
_TARGETS = st.sampled_from(
    [b"/", b"/a/b", b"/a?b=c", b"/private/a", b"/%61", b"/a%2fb", b"/a/../b", b"http://a/b", b"*"]
)
_VERSIONS = st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.1 "])
_LINE_ENDS = st.sampled_from([b"\r\n"] * 40 + [b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\r\r\n"])
_COLONS = st.sampled_from([b": "] * 12 + [b":", b" : ", b":\t", b":\x0b", b"\x00:"])
_NAMES = st.sampled_from(
    [
        b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"Trailer",
        b"X-Auth-User", b"x_auth_user", b"X-Request-Id", b"Content_Length", b"Cookie", b"X",
        b"TE", b"Keep-Alive", b"Host", b"X-Forwarded-For", b"Transfer-Encoding\xa0",
    ]
)  # fmt: skip
_VALUES = st.sampled_from(
    [
        b"chunked", b"Chunked", b"chunked, chunked", b"gzip, chunked", b"identity", b"0", b"5",
        b"05",
        b"+5", b"5, 5", b"close", b"keep-alive, X-Auth-User", b"upgrade", b"websocket",
        b"100-continue",
        b"root", b"", b"a\xe9b", b"sidecar_session=" + TOKEN.encode(), b"a\x00b", b"a\rb", b"\x0b5",
    ]
)  # fmt: skip
_CHUNK_LINES = st.sampled_from(
    [b"5", b"5;a=b", b"05", b"5 ", b"0x5", b"+5", b"5;\n", b"5;a\rb", b"4", b"6", b""]
)
_BODIES = st.one_of(
    st.sampled_from([b"", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"hello!"]),
    st.builds(
        lambda line, end, trailer: line + end + b"hello" + end + b"0\r\n" + trailer + b"\r\n",
        _CHUNK_LINES,
        _LINE_ENDS,
        st.sampled_from([b"", b"X: y\r\n", b"X-Auth-User: root\r\n", b"bad\r\n"]),
    ),
)


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    lines = [draw(_METHODS) + b" " + draw(_TARGETS) + b" " + draw(_VERSIONS)]
    if draw(st.integers(0, 9)):
        lines.append(b"Host: a")
    if draw(st.booleans()):
        lines.append(b"Cookie: sidecar_session=" + TOKEN.encode())
    lines += draw(
        st.lists(st.builds(lambda *parts: b"".join(parts), _NAMES, _COLONS, _VALUES), max_size=3)
    )
    head = b"".join(line + draw(_LINE_ENDS) for line in lines)
    return head + b"\r\n" + draw(_BODIES)


@st.composite
def _conversations(draw: st.DrawFn) -> bytes:
    octets = b"".join(draw(st.lists(_requests(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(octets)))
        put = draw(st.sampled_from([b"", b"\r", b"\n", b"\x00", b" ", b"\t", b":", b"0", b"\xff"]))
        octets = octets[:at] + put + octets[at + draw(st.integers(0, 1)) :]
    return octets


Running = tuple[asyncio.Runner, Bench]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """One bench for all examples, in a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = bench()
        yield runner, runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


@pytest.mark.parametrize("cut", CUTS)
def test_nearly_valid_requests(running: Running, cut: str) -> None:
    runner, bench_ = running

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_conversations())
    def examine(octets: bytes) -> None:
        assert runner.run(bench_.surprises_of(octets, CUTS[cut])) == []

    examine()
