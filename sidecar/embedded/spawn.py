"""Starts a program under the right user so that it ends with us, and stops it again."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

LAUNCHER: Final = str(Path(__file__).with_name("launch.py"))
# "nobody" on Linux (Debian, Alpine and Red Hat agree on it).
NOBODY: Final = 65534
# A clean stop writes what is in memory; after this it is killed, and recovers at the next start.
STOP_SECONDS: Final = 10.0


class EmbeddedError(Exception):
    """An embedded server could not be prepared or started. The message ends with its last words."""


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def identity_for(program: Path, folder: Path) -> str:
    """Who `program` has to run as, to work in `folder`: see `launch.become`.

    Only root has to change: to nobody, or where nobody cannot reach the program or the folder, to
    itself under another id in a user namespace.
    """
    if os.geteuid() != 0:
        return "same"
    reachable = all(
        parent.stat().st_mode & 0o001
        for path in (program.resolve(), folder.resolve())
        for parent in path.parents
    )
    if reachable and _runs(str(NOBODY), program):
        return str(NOBODY)
    return "namespace"


def _runs(identity: str, program: Path) -> bool:
    command = _command(identity, signal.SIGKILL, [str(program), "--version"])
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0


def _command(identity: str, death: signal.Signals, program: list[str]) -> list[str]:
    start = [sys.executable, "-I", "-S", LAUNCHER]
    # The interpreter itself runs before the identity changes, so it may lie anywhere.
    return [*start, identity, str(int(death)), str(os.getpid()), *program]


def make_folder(folder: Path, identity: str) -> None:
    """Creates `folder`, closed to everybody but `identity`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if identity.isdecimal():
        os.chown(folder, int(identity), int(identity))


def write_secret(path: Path, text: str, identity: str = "same") -> None:
    """Writes a file that only `identity` can read (and root)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if identity.isdecimal():
            os.fchown(descriptor, int(identity), int(identity))
        file.write(text)


def run(identity: str, program: list[str]) -> None:
    """Runs `program` to its end.

    Raises:
        EmbeddedError: it failed.
    """
    with tempfile.TemporaryFile() as words:
        outcome = subprocess.run(
            _command(identity, signal.SIGKILL, program),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            check=False,
            cwd="/",
            env=_environment(),
        )
        words.seek(0)
        if outcome.returncode != 0:
            raise EmbeddedError(f"{Path(program[0]).name} failed: {_tail(words.read())}")


def _environment() -> dict[str, str]:
    # Nothing of ours: PG* variables would reach the server, secrets must not.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _tail(words: bytes) -> str:
    return words[-1000:].decode("utf-8", "replace").strip()


class Server:
    """A running program whose words go to a log file."""

    def __init__(self, identity: str, program: list[str], death: signal.Signals, log: Path) -> None:
        """Starts `program`.

        Args:
            identity: see `launch.become`.
            program: path and arguments. No secrets: the list of processes shows them.
            death: the signal that stops it cleanly, also sent when this thread ends.
            log: file its output is appended to.
        """
        self._death = death
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as words:
            self._child = subprocess.Popen(
                _command(identity, death, program),
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                cwd="/",
                env=_environment(),
                # Ctrl-C in the terminal is for us; we stop our servers ourselves.
                start_new_session=True,
            )
        self.name = Path(program[0]).name

    @property
    def pid(self) -> int:
        """Its process id (the launcher's, which the program took over)."""
        return self._child.pid

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def last_words(self) -> str:
        """The end of what it wrote since this start."""
        with self._log.open("rb") as words:
            words.seek(self._log_start)
            return _tail(words.read())

    def stop(self) -> None:
        """Stops it cleanly, or by force after `STOP_SECONDS`. May be called again."""
        if self.is_running():
            self._child.send_signal(self._death)
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._child.kill()
        self._child.wait()
