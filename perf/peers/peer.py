"""One proxy that runs, and how it is started, probed and stopped."""

import http.client
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perf import machine
from perf.workload import Workload

START_SECONDS = 30.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A running proxy.

    Attributes:
        name: as it stands in tables and thresholds.
        version: of the software.
        port: of 127.0.0.1.
        pid: root of its tree of processes.
        guards: whether it refuses what is not authorized.
    """

    name: str
    version: str
    port: int
    pid: int
    guards: bool


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command on the proxy's core, ended at the end.

    Raises:
        RuntimeError: it ended by itself.
    """
    with log.open("wb") as written, machine.pinned(machine.PROXY_CORE):
        child = subprocess.Popen(command, stdout=written, stderr=written)
    try:
        yield child
        if child.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {child.returncode}: {_tail(log)}")
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until_answers(child: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    """Returns once the port answers a GET at all.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
        try:
            connection.request("GET", path)
            if connection.getresponse().status != 503:  # not ready yet
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"{child.args!r} did not start: {_tail(log)}")


def probe(peer: Peer, workload: Workload) -> None:
    """Sends what must be refused: a guard that lets it pass is not worth measuring.

    Raises:
        RuntimeError: with what was let through.
    """
    for why, status, request in workload.probes:
        expected = status if peer.guards else 200
        got = _status(peer.port, request)
        if got != expected:
            raise RuntimeError(f"{peer.name} answered {got} to {why}, expected {expected}")


def _status(port: int, request: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    connection.connect()
    try:
        connection.sock.sendall(request)
        answer = http.client.HTTPResponse(connection.sock, method="GET")
        answer.begin()
        return answer.status
    finally:
        connection.close()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]
