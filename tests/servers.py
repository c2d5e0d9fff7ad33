"""Real servers for the tests, one pair for each pytest (worker), ended with it."""

import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from sidecar.embedded.spawn import Server, free_port, make_folder, write_secret
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


class RedisNode:
    """A Valkey with lines of its own in its configuration, such as a node of a Cluster.

    Args:
        folder: where it keeps everything.
        password: for clients, masters and replicas alike.
        port: where it listens; a free one for 0.
    """

    def __init__(self, folder: Path, password: str, port: int = 0) -> None:
        found = EmbeddedValkey(folder, durable=False)
        self._program = found._program
        self._identity = found._identity
        self._folder = found.folder
        self._lines: list[str] = []
        self._arguments: list[str] = []
        self.password = password
        self.port = port or free_port()
        self.server: Server | None = None
        make_folder(self._folder, self._identity)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self) -> redis.Redis:
        """A plain client, to look from outside."""
        return redis.Redis(
            port=self.port, password=self.password, socket_timeout=5, decode_responses=True
        )

    def ask(self, *words: str | int) -> Any:
        """The answer to one command."""
        with self.client() as client:
            return client.execute_command(*words)

    def start(self, *lines: str, arguments: Sequence[str] = ()) -> None:
        """Starts it, with the lines and arguments of the last time if there are none now."""
        self._lines = list(lines) or self._lines
        self._arguments = list(arguments) or self._arguments
        configuration = self._folder / "server.conf"
        if lines:
            basic = ["bind 127.0.0.1", f"port {self.port}", f'dir "{self._folder}"', "daemonize no"]
            text = "\n".join([*basic, f"requirepass {self.password}", *self._lines]) + "\n"
            write_secret(configuration, text, self._identity)
        program = [str(self._program), str(configuration), *self._arguments]
        self.server = Server(self._identity, program, signal.SIGTERM, self._folder / "log")

    def wait(self) -> None:
        """Until it answers."""
        assert self.server is not None
        pause = threading.Event()
        for _ in range(int(START_SECONDS / 0.02)):
            with suppress(redis.RedisError):
                if self.ask("PING"):
                    return
            assert self.server.is_running(), self.server.last_words()
            pause.wait(0.02)
        raise AssertionError(self.server.last_words())

    def kill(self) -> None:
        """Ends it as a crash would."""
        assert self.server is not None
        self.server.kill()

    def stop(self) -> None:
        """Ends it by force: nothing of it is needed again."""
        if self.server is not None:
            self.server.kill()
