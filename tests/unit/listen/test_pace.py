"""How slow a client may be."""

import asyncio
import socket
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from sidecar.listen.pace import Patience, backlog, body_due, patience, taken
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


STEP = 131_072
MOST = 1_048_576


def waited(*taken_each: int, pause: float = 1.0, before: int = 0) -> float:
    """How long a reader is waited for that takes so much after each pause, and then nothing."""
    patient = Patience(100, 30.0)
    took, now = before, 0.0
    patient.begin(took, now)
    for each in taken_each:
        took, now = took + each, now + pause
        if not patient.lasts(took, now):
            return now
    assert patient.until >= now
    return patient.until


def test_who_takes_nothing_is_waited_for_as_long_as_a_kernel_may_be_silent() -> None:
    assert waited() == STEP / 100
    assert waited(0, pause=STEP / 100 + 1) == STEP / 100 + 1, "and then it is over"


def test_each_octet_earns_its_share() -> None:
    assert waited(1000) == STEP / 100 + 10
    assert waited(1000, 500, 0, 0) == STEP / 100 + 15


def test_credit_is_bounded() -> None:
    assert waited(50_000_000) == 1 + MOST / 100
    assert waited(before=50_000_000) == MOST / 100
    assert waited(before=200_000) == 2000, "as much as its kernel may hold back"


def test_a_reader_at_the_rate_is_waited_for_whatever_its_steps() -> None:
    for step in (100, 10_000, STEP - 100):
        assert waited(*[step] * 1000, pause=step / 100) > 1000 * step / 100


def test_a_reader_below_the_rate_is_not() -> None:
    assert waited(*[9_000] * 10_000, pause=100) < 15_000


def test_a_new_stall_begins_with_what_is_left() -> None:
    patient = Patience(100, 30.0)
    patient.begin(0, 0.0)
    assert patient.lasts(0, 1000.0)
    patient.begin(1000, 5000.0)
    assert patient.until == 5000 + STEP / 100 - 1000 + 10
    patient.begin(MOST, 9000.0)
    assert patient.until > 9000 + STEP / 100


def test_pausing_again_and_again_does_not_earn_more_than_what_is_taken() -> None:
    patient = Patience(240, 30.0)
    took, now = 0, 0.0
    patient.begin(took, now)
    # What a transport lets go of between two pauses, as late as can be: 91 octets a second.
    for _ in range(10):
        now, took = now + 541, took + 49_152
        if not patient.lasts(took, now):
            break
        patient.begin(took, now)
    assert now == 2 * 541


def test_who_lags_took_less_than_the_rate_since_the_last_question() -> None:
    patient = Patience(100, 30.0)
    patient.begin(5000, 10.0)
    assert not patient.lags(5500, 15.0)
    assert patient.lags(5999, 20.0)
    assert patient.lags(5999, 25.0)
    assert not patient.lags(6499, 30.0)
    patient.begin(7000, 100.0)
    assert patient.lags(7000, 100.5)


def test_what_is_less_than_before_earns_nothing() -> None:
    patient = Patience(100, 30.0)
    patient.begin(-1000, 0.0)
    assert patient.lasts(-50_000, 1.0)
    assert patient.until == STEP / 100


def test_a_high_rate_leaves_the_least_time() -> None:
    patient = Patience(10_000_000, 30.0)
    patient.begin(0, 0.0)
    assert patient.until == 30.0


def test_no_rate_is_no_patience_to_lose() -> None:
    assert patience(Limits(slowest_download_bytes_per_second=0), DEADLINES) is None
    assert patience(LIMITS, DEADLINES) is not None


class Transport:
    """Holds 5 bytes of its own."""

    def __init__(self, sock: socket.socket | None) -> None:
        self.sock = sock

    def get_write_buffer_size(self) -> int:
        return 5

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self.sock


def taken_of(sock: socket.socket | None) -> int:
    return taken(cast("asyncio.Transport", Transport(sock)))


def test_what_the_kernel_holds_is_not_taken() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"x" * 1000)
        assert taken_of(ours) <= -1005
        theirs.recv(1000)
        assert taken_of(ours) == -5
    assert taken_of(ours) == -5
    assert taken_of(None) == -5


def test_of_tcp_it_is_what_was_acknowledged() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
        server.accept()[0] as theirs,
    ):
        before = taken_of(ours)
        ours.send(b"x" * 1000)
        assert theirs.recv(1000, socket.MSG_WAITALL) == b"x" * 1000
        theirs.send(b"y")  # with the acknowledgement of what came before
        ours.recv(1)
        assert taken_of(ours) - before == 1000


def test_what_waits_is_here_or_in_the_kernel() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before, waiting = backlog(cast("asyncio.Transport", Transport(ours)))
        assert (before, waiting) == (-5, 5)
        ours.send(b"x" * 1000)
        after, waiting = backlog(cast("asyncio.Transport", Transport(ours)))
        assert waiting >= 1005
        assert after < before
    assert backlog(cast("asyncio.Transport", Transport(ours)))[1] == 5
    assert backlog(cast("asyncio.Transport", Transport(None)))[1] == 5


class Ancient:
    """A kernel that says less of TCP; nothing is queued."""

    family = socket.AF_INET

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def getsockopt(self, *_: int) -> bytes:
        return bytes(104)


def test_of_a_kernel_that_does_not_say_it_is_what_is_not_queued() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert taken_of(cast("socket.socket", Ancient(ours))) == -5
