"""Servers that drip their answers, and others."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from sidecar.telemetry.deadline import bound_answers

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"


@contextmanager
def serving(first: bytes, drop: bytes, seconds: float) -> Iterator[str]:
    """Answers `first`, then a `drop` each time that the client has not gone after `seconds`."""
    gone = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(65_536)
            sock.sendall(first)
            # More than twice the time that a client may wait.
            for _ in range(40):
                if not drop or gone.wait(seconds):
                    return
                sock.sendall(drop)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            gone.set()
            thread.join(10)


@pytest.mark.parametrize(
    ("first", "drop"),
    [(HEAD, b"x"), (b"HTTP/1.1 200 OK\r\nA: ", b"x"), (b"HTTP/1.1 200 OK\r\n", b"A: x\r\n")],
    ids=["body", "field", "fields"],
)
def test_an_answer_that_drips_ends_with_the_timeout(first: bytes, drop: bytes) -> None:
    with serving(first, drop, 0.05) as url, requests.Session() as session:
        bound_answers(session)
        with pytest.raises(requests.RequestException, match="timed out"):
            session.get(url, timeout=0.4)


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_an_answer_in_time_is_whole(close: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + close + b"\r\n"
    with serving(answer + b"whole", b"", 0.0) as url, requests.Session() as session:
        bound_answers(session)
        assert session.get(url, timeout=10).content == b"whole"


def test_without_a_timeout_there_is_no_bound() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    with serving(answer, b"x", 0.01) as url, requests.Session() as session:
        bound_answers(session)
        assert session.get(url).content == b"xxx"
