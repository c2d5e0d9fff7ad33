"""What accept(2) may say, and what is made of it."""

import asyncio
import errno
import socket
from typing import Any, cast

import pytest

from sidecar.listen.acceptor import Acceptor
from sidecar.listen.opening import Opening


class Listener:
    """A listening socket whose accept is scripted."""

    def __init__(self, *outcomes: Any) -> None:
        self._real = socket.create_server(("127.0.0.1", 0))
        self._real.setblocking(False)
        self.outcomes = list(outcomes)
        self.calls = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.calls += 1
        outcome = self.outcomes.pop(0) if self.outcomes else BlockingIOError()
        if isinstance(outcome, OSError):
            raise outcome
        return outcome, ("192.0.2.1", 1)

    def fileno(self) -> int:
        return self._real.fileno()

    def listen(self, backlog: int) -> None:
        self._real.listen(backlog)

    def close(self) -> None:
        self._real.close()

    def wake(self) -> None:
        """The kernel would say that there is somebody."""
        with socket.create_connection(self._real.getsockname()):
            pass


class Opened:
    """In the place of `Opening`: keeps what it gets."""

    def __init__(self) -> None:
        self.socks: list[socket.socket] = []
        self.raises: Exception | None = None

    async def open(self, sock: socket.socket, _: object) -> None:
        if self.raises is not None:
            raise self.raises
        assert not sock.getblocking()
        self.socks.append(sock)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0.001)


def accepting(
    listener: Listener, opened: Opened, *, full: bool = False, has_siblings: bool = False
) -> Acceptor:
    acceptor = Acceptor(cast("Opening", opened), lambda: full, has_siblings=has_siblings)
    acceptor.start([cast("socket.socket", listener)])
    return acceptor


async def test_errors_of_one_connection_concern_nobody_else() -> None:
    sock = socket.socket()
    listener = Listener(
        OSError(errno.ECONNABORTED, "gone"), OSError(errno.EPROTO, "odd"), InterruptedError(), sock
    )
    opened = Opened()
    acceptor = accepting(listener, opened)
    listener.wake()
    await turn()
    assert opened.socks == [sock]
    assert (acceptor.pauses, acceptor.refused) == (0, 0)
    sock.close()
    await acceptor.stop()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_running_short_pauses_longer_each_time(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    sock = socket.socket()
    listener = Listener(OSError(number, "none left"), OSError(number, "none left"), sock)
    opened = Opened()
    acceptor = accepting(listener, opened)
    begun = asyncio.get_running_loop().time()
    listener.wake()
    async with asyncio.timeout(5):
        while not opened.socks:
            await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - begun >= 0.3
    assert acceptor.pauses == 2
    assert caplog.messages == ["accepting pauses: none left"]
    sock.close()
    await acceptor.stop()


async def test_the_end_comes_while_accepting_pauses() -> None:
    listener = Listener(OSError(errno.EMFILE, "none left"))
    acceptor = accepting(listener, Opened())
    listener.wake()
    await turn()
    assert acceptor.pauses == 1
    await acceptor.stop()
    calls = listener.calls
    await asyncio.sleep(0.2)
    assert listener.calls == calls


async def test_running_short_at_the_end_resumes_nothing() -> None:
    listener = Listener(OSError(errno.EMFILE, "none left"))
    acceptor = accepting(listener, Opened())
    await acceptor.stop()
    assert acceptor.pauses == 1
    assert acceptor._resuming is None


async def test_a_full_worker_that_stops_leaves_the_queue_to_the_others() -> None:
    sock = socket.socket()
    listener = Listener(sock)
    acceptor = accepting(listener, Opened(), full=True, has_siblings=True)
    await acceptor.stop()
    assert (listener.calls, acceptor.refused) == (0, 0)
    assert sock.fileno() >= 0
    sock.close()


async def test_the_loop_turns_between_many() -> None:
    socks = [socket.socket() for _ in range(20)]
    listener, opened = Listener(*socks), Opened()
    acceptor = accepting(listener, opened)
    acceptor._accept_some(cast("socket.socket", listener))
    assert listener.calls == 8
    await acceptor.stop()
    assert len(opened.socks) == 20
    for sock in socks:
        sock.close()


async def test_a_bug_in_opening_one_is_told_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    socks = [socket.socket() for _ in range(2)]
    listener, opened = Listener(*socks), Opened()
    opened.raises = RuntimeError("a bug")
    acceptor = accepting(listener, opened)
    acceptor._accept_one(cast("socket.socket", listener))
    await turn()
    opened.raises = None
    acceptor._accept_one(cast("socket.socket", listener))
    await turn()
    assert opened.socks == [socks[1]]
    assert "a connection could not be opened" in caplog.text
    for sock in socks:
        sock.close()
    await acceptor.stop()


async def test_beyond_the_ceiling_is_closed() -> None:
    sock = socket.socket()
    listener, opened = Listener(sock), Opened()
    acceptor = accepting(listener, opened, full=True)
    acceptor._accept_some(cast("socket.socket", listener))
    assert acceptor.refused == 1
    assert sock.fileno() == -1
    await acceptor.stop()
