"""How slow a client may be."""

import asyncio
import socket
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from sidecar.listen.pace import body_due, keeps_up, unread
from sidecar.settings.schema import Deadlines, Limits

LIMITS = Limits(slowest_upload_bytes_per_second=100, slowest_download_bytes_per_second=100)
DEADLINES = Deadlines(body_idle_seconds=30.0, write_stall_seconds=30.0)


def lasting(size: int, pause: float, limits: Limits = LIMITS) -> float:
    """How long a body may come, `size` bytes after each `pause`; 10 000 seconds are for ever."""
    now, due = 0.0, 30.0
    while now < 10_000:
        now += pause
        if now >= due:
            return due
        due = body_due(due, size, now, limits, DEADLINES)
    return now


def test_a_pause_is_bounded() -> None:
    assert lasting(1_000_000, 30.1) == 30.0
    assert lasting(1_000_000, 29.9) >= 10_000


def test_drops_are_bounded_in_all() -> None:
    assert lasting(1, 1.0) < 31.0
    assert lasting(99, 1.0) < 4_000
    assert lasting(101, 1.0) >= 10_000


def test_no_rate_bounds_pauses_only() -> None:
    assert lasting(1, 1.0, Limits(slowest_upload_bytes_per_second=0)) >= 10_000


@given(sizes=st.lists(st.integers(0, 10_000), max_size=20))
def test_credit_is_never_more_than_the_longest_pause(sizes: list[int]) -> None:
    due = 30.0
    for now, size in enumerate(sizes):
        due = body_due(due, size, float(now), LIMITS, DEADLINES)
        assert due <= now + DEADLINES.body_idle_seconds


def test_a_reader_keeps_up_with_a_rate_or_does_not() -> None:
    assert keeps_up(10_000, 7_000, LIMITS, DEADLINES)
    assert not keeps_up(10_000, 7_001, LIMITS, DEADLINES)
    some = Limits(slowest_download_bytes_per_second=0)
    assert keeps_up(10_000, 9_999, some, DEADLINES)
    assert not keeps_up(10_000, 10_000, some, DEADLINES)


class Transport:
    """Holds 5 bytes of its own."""

    def __init__(self, sock: socket.socket | None) -> None:
        self.sock = sock

    def get_write_buffer_size(self) -> int:
        return 5

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self.sock


def test_what_the_kernel_holds_counts() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"x" * 1000)
        assert unread(cast("asyncio.Transport", Transport(ours))) >= 1005
    assert unread(cast("asyncio.Transport", Transport(ours))) == 5
    assert unread(cast("asyncio.Transport", Transport(None))) == 5
