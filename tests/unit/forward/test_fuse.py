"""Which outcomes a circuit breaker hears of, and whose."""

from typing import Any

from sidecar.forward.fuse import Fuse
from sidecar.limit.breaker import State
from sidecar.model.peer import Peer
from sidecar.settings.schema import Breaker

START = 1_000.0


class Exchange:
    """All that a fuse asks of one."""

    def __init__(self, address: str = "192.0.2.1", *, is_request_sent: bool = True) -> None:
        self.is_request_sent = is_request_sent
        self.peer = Peer(address, "http", is_trusted=False)


def exchange(address: str = "192.0.2.1", **known: Any) -> Any:
    return Exchange(address, **known)


def blown(**settings: Any) -> Fuse:
    fuse = Fuse(Breaker(failures=1, open_seconds=1.0, **settings), lambda: 0.5)
    fuse.failed(exchange(), START)
    assert fuse.state(START) is State.OPEN
    return fuse


def test_only_the_probe_is_heard_of_while_it_is_tried() -> None:
    fuse = blown()
    probe, straggler = exchange(), exchange()
    assert fuse.admits(probe, START + 1)
    fuse.failed(straggler, START + 1.1)
    assert fuse.state(START + 1.1) is State.HALF_OPEN
    fuse.answered(straggler, 200, START + 1.2)
    assert fuse.state(START + 1.2) is State.HALF_OPEN
    fuse.answered(probe, 200, START + 1.3)
    assert fuse.state(START + 1.3) is State.CLOSED


def test_a_second_probe_takes_the_place_of_one_that_is_not_heard_of() -> None:
    fuse = blown()
    lost, second = exchange(), exchange()
    assert fuse.admits(lost, START + 1)
    assert fuse.admits(second, START + 2)
    fuse.failed(lost, START + 2.1)
    assert fuse.state(START + 2.1) is State.HALF_OPEN
    fuse.failed(second, START + 2.2)
    assert fuse.state(START + 2.2) is State.OPEN
    assert fuse.opened == 2


def test_a_probe_that_gets_an_answer_that_counts_as_failure_opens_again() -> None:
    fuse = blown(statuses=(503,))
    probe = exchange()
    assert fuse.admits(probe, START + 1)
    fuse.answered(probe, 503, START + 1.1)
    assert fuse.state(START + 1.1) is State.OPEN


def test_a_probe_that_ends_without_a_verdict_is_followed_by_another_at_once() -> None:
    fuse = blown()
    lost, second, third = exchange(), exchange(), exchange()
    assert fuse.admits(lost, START + 1)
    assert not fuse.admits(second, START + 1.1)
    fuse.left(second, START + 1.1)
    assert not fuse.admits(second, START + 1.1), "only the end of the probe counts"
    fuse.left(lost, START + 1.1)
    assert fuse.admits(second, START + 1.1)
    assert not fuse.admits(third, START + 1.2)
    fuse.answered(second, 200, START + 1.3)
    assert fuse.state(START + 1.3) is State.CLOSED


def test_the_end_of_a_probe_that_failed_lets_nobody_through() -> None:
    fuse = blown()
    probe = exchange()
    assert fuse.admits(probe, START + 1)
    fuse.failed(probe, START + 1.1)
    fuse.left(probe, START + 1.1)
    assert fuse.state(START + 1.1) is State.OPEN
    assert not fuse.admits(exchange(), START + 1.2)


def test_a_complete_request_takes_the_place_of_one_that_waits_for_its_client() -> None:
    fuse = blown()
    upload, another = exchange(is_request_sent=False), exchange(is_request_sent=False)
    assert fuse.admits(upload, START + 1)
    assert not fuse.admits(another, START + 1.1)
    complete = exchange()
    assert fuse.admits(complete, START + 1.1)
    assert not fuse.admits(exchange(), START + 1.2), "there is one probe"
    fuse.left(upload, START + 1.2)
    assert not fuse.admits(another, START + 1.2), "which the upload is no longer"
    fuse.answered(upload, 200, START + 1.2)
    assert fuse.state(START + 1.2) is State.HALF_OPEN
    fuse.answered(complete, 200, START + 1.3)
    assert fuse.state(START + 1.3) is State.CLOSED


def test_where_there_are_only_uploads_one_of_them_is_the_probe() -> None:
    fuse = blown()
    upload = exchange(is_request_sent=False)
    assert fuse.admits(upload, START + 1)
    upload.is_request_sent = True
    assert not fuse.admits(exchange(), START + 1.1), "it is complete by now"
    fuse.answered(upload, 200, START + 1.2)
    assert fuse.state(START + 1.2) is State.CLOSED


def test_what_may_be_the_doing_of_one_client_counts_once_for_it() -> None:
    fuse = Fuse(Breaker(failures=3, open_seconds=1.0), lambda: 0.5)
    for _ in range(100):
        fuse.dropped(exchange("2001:db8::1"), START)
        fuse.dropped(exchange("2001:db8::2"), START)
    assert fuse.state(START) is State.CLOSED, "one network is one client"
    fuse.dropped(exchange("192.0.2.1"), START)
    assert fuse.state(START) is State.CLOSED
    fuse.dropped(exchange("192.0.2.2"), START)
    assert fuse.state(START) is State.OPEN


def test_a_client_whose_probes_are_dropped_keeps_nobody_out() -> None:
    fuse = blown()
    for instant in (START + 1, START + 4, START + 4.1):
        probe = exchange()
        assert fuse.admits(probe, instant)
        fuse.dropped(probe, instant)
        fuse.left(probe, instant)
    assert fuse.opened == 2, "it counted once"
    assert fuse.admits(exchange("192.0.2.2"), START + 4.1)


def test_whoever_is_refused_is_told_whole_seconds_and_at_least_one() -> None:
    fuse = blown()
    assert fuse.retry_after(START) == 1
    assert fuse.retry_after(START + 0.99) == 1
    assert fuse.retry_after(START + 5.0) == 1
    assert Fuse(Breaker(), lambda: 0.5).retry_after(START) == 1
