"""A Valkey in a network namespace of its own, behind a cable that can be pulled out.

No TCP relay knows how a network fails: here no packet passes, nobody is told, and no connection is
reset. Everything happens in namespaces that end with the test.
"""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sidecar.embedded.valkey import _program

_NEAR, _FAR = "10.213.7.1", "10.213.7.2"
_PORT: Final = 6379
_START_SECONDS: Final = 10.0
# Of whoever may do this as somebody else than root.
UNSHARED: Final = ("unshare", "--user", "--map-root-user", "--net")


def why_not() -> str:
    """Why it cannot be done here; empty where it can."""
    for program in ("unshare", "ip", "nsenter"):
        if shutil.which(program) is None:
            return f"there is no `{program}`"
    tried = subprocess.run(
        [*UNSHARED, "sh", "-c", "ip link set lo up && ip link add near type veth peer name far"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else ""


class Cable:
    """Between this namespace and the server's.

    Attributes:
        url: of the server.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self.url = f"redis://{_FAR}:{_PORT}/0"

    def lay(self) -> None:
        """A pair of interfaces, one of them over there."""
        _ip("link", "add", "near", "type", "veth", "peer", "name", "far")
        _ip("link", "set", "far", "netns", str(self._server))
        _ip("addr", "add", f"{_NEAR}/24", "dev", "near")
        _ip("link", "set", "near", "up")
        self._over_there("addr", "add", f"{_FAR}/24", "dev", "far")
        self._over_there("link", "set", "far", "address", "02:00:00:00:00:02")
        self._over_there("link", "set", "far", "up")
        # Known for ever: without it the kernel itself would say that nobody is there.
        _ip("neigh", "replace", _FAR, "lladdr", "02:00:00:00:00:02", "dev", "near")

    def pull_out(self) -> None:
        """No packet passes, in either direction."""
        self._over_there("link", "set", "far", "down")

    def plug_in(self) -> None:
        """All is well again."""
        self._over_there("link", "set", "far", "up")

    def _over_there(self, *arguments: str) -> None:
        enter = ["nsenter", "--target", str(self._server), "--net", "ip", *arguments]
        subprocess.run(enter, check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def distant_valkey(folder: Path) -> Iterator[Cable]:
    """A server over there."""
    command = ["unshare", "--net", str(_program()), "--port", str(_PORT), "--bind", "*"]
    command += ["--protected-mode", "no", "--save", "", "--dir", str(folder)]
    with (folder / "valkey.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        cable = Cable(server.pid)
        _until_unshared(server.pid)
        cable.lay()
        _until_reached(folder)
        yield cable
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def _until_unshared(pid: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == here:
        assert time.monotonic() < deadline, "it stays in our namespace"
        time.sleep(0.01)


def _until_reached(folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection((_FAR, _PORT), timeout=0.5).close()
        except OSError:
            assert time.monotonic() < deadline, (folder / "valkey.log").read_text()
            time.sleep(0.05)
        else:
            return
