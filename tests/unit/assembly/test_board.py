import os

from sidecar.assembly.board import Board


def test_places_do_not_touch_each_other() -> None:
    board = Board(3)
    board.started(1, 5.0)
    board.tell_ready(1)
    board.beat(1, 7.5)
    assert (board.beat_of(1), board.is_ready(1), board.starts_of(1)) == (7.5, True, 1)
    for other in (0, 2):
        assert (board.beat_of(other), board.is_ready(other), board.starts_of(other)) == (
            0,
            False,
            0,
        )
    board.started(1, 9.0)
    assert (board.beat_of(1), board.is_ready(1), board.starts_of(1)) == (9.0, False, 2)


def test_a_child_is_seen() -> None:
    board = Board(1)
    pid = os.fork()
    if pid == 0:
        board.beat(0, 3.25)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.beat_of(0) == 3.25
