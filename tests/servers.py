"""Real servers for the tests, one pair for each pytest (worker), ended with it."""

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sidecar.embedded.stack import START_SECONDS, EmbeddedStack
from sidecar.embedded.valkey import EmbeddedValkey

TEMPLATE = Path(__file__).parents[1] / ".cache" / "embedded"
DEBIAN_REDIS = shutil.which("redis-server")


@contextmanager
def running(folder: Path) -> Iterator[EmbeddedStack]:
    """PostgreSQL and Valkey in `folder`, fast rather than durable."""
    with EmbeddedStack(folder, durable=False, template=TEMPLATE) as stack:
        yield stack


@contextmanager
def redis_running(folder: Path, program: Path | None = None) -> Iterator[EmbeddedValkey]:
    """One more Valkey, or another server, which a test may stop, kill and restart."""
    server = EmbeddedValkey(folder, durable=False, program=program)
    server.prepare()
    server.start()
    try:
        wait_until_ready(server)
        yield server
    finally:
        server.server.stop()


def wait_until_ready(server: EmbeddedValkey) -> None:
    """Until it answers; fails when it ends instead."""
    pause = threading.Event()
    for _ in range(int(START_SECONDS / 0.02)):
        if server.is_ready():
            return
        assert server.server.is_running(), server.server.last_words()
        pause.wait(0.02)
    raise AssertionError(server.server.last_words())


class Proxy:
    """A TCP relay that can be cut (connections reset, new ones refused) or frozen (nothing moves).

    For a server on 127.0.0.1; runs in threads of its own. Use it in a ``with`` block.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._cut = False
        self._ended = False
        self._pairs: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections; new ones are closed at once."""
        self._cut = True
        with self._lock:
            ended, self._pairs = self._pairs, []
        for end in ended:
            _close(end)

    def freeze(self) -> None:
        """Nothing moves any more: the half-open connection, the host that vanished."""
        self._flowing.clear()

    def mend(self) -> None:
        """All is well again."""
        self._cut = False
        self._flowing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._ended:
                client.close()
                return
            if self._cut:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                self._flowing.wait()
                target.sendall(piece)
        except OSError:
            pass
        _close(source)
        _close(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended = True
        # Closing alone does not wake a thread that waits in accept.
        with socket.socket() as last:
            last.connect_ex(("127.0.0.1", self.port))
        self._listener.close()
        self._flowing.set()
        self.cut()


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
