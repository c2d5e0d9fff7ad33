"""One proxy that runs, and how it is started, probed and stopped."""

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from perf import machine
from perf.workload import HOST, Fault, Workload

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class Guard(Enum):
    """What a proxy checks before it forwards; the value is what tables say."""

    NONE = "nothing"
    # Asks a service at each request, and obeys; the service looks for a credential, not into it.
    STATIC = "asks; static answer"
    AUTHENTICATES = "authenticates"
    AUTHORIZES = "authenticates, authorizes"
    # The same, but its only status for a refusal is 401.
    AUTHORIZES_401 = "authenticates, authorizes (401 for both)"


_PASSED, _UNAUTHENTICATED, _FORBIDDEN = frozenset({200}), frozenset({401}), frozenset({403})
# RFC 6750 section 3.1 says 401 for whatever is wrong with a token; Envoy forbids.
_FOR_ANOTHER = frozenset({401, 403})

# What each must answer to a request with that fault. 200 stands where a check is not claimed: it
# holds that the table does not say less than the proxy does, either.
EXPECTED: dict[Guard, dict[Fault, frozenset[int]]] = {
    Guard.NONE: dict.fromkeys(Fault, _PASSED),
    Guard.STATIC: {
        **dict.fromkeys(Fault, _PASSED),
        Fault.ANONYMOUS: _UNAUTHENTICATED,
    },
    Guard.AUTHENTICATES: {
        Fault.ANONYMOUS: _UNAUTHENTICATED,
        Fault.UNBELIEVABLE: _UNAUTHENTICATED,
        Fault.MISDIRECTED: _FOR_ANOTHER,
        Fault.UNPERMITTED: _PASSED,
    },
    Guard.AUTHORIZES: {
        Fault.ANONYMOUS: _UNAUTHENTICATED,
        Fault.UNBELIEVABLE: _UNAUTHENTICATED,
        Fault.MISDIRECTED: _FOR_ANOTHER,
        Fault.UNPERMITTED: _FORBIDDEN,
    },
    Guard.AUTHORIZES_401: dict.fromkeys(Fault, _UNAUTHENTICATED),
}


class AbsentError(RuntimeError):
    """A peer cannot be had here; the text says why. The others are measured without it."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer is started.

    Attributes:
        folder: for its files.
        upstream: port of the application on 127.0.0.1.
    """

    folder: Path
    upstream: int
    workload: Workload


@dataclass(frozen=True, slots=True)
class Service:
    """Another server that the proxy asks at each request.

    Attributes:
        name: what it is, with its version.
        pid: root of its tree of processes.
        counted: whether its CPU time belongs to the figure that is judged; it is always shown.
    """

    name: str
    pid: int
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Peer:
    """A running proxy.

    Attributes:
        name: as it stands in tables and thresholds.
        version: of the software.
        port: of 127.0.0.1.
        pid: root of its tree of processes.
        guard: what it checks.
        service: what it asks, if anything.
        tls: whether it speaks TLS only.
    """

    name: str
    version: str
    port: int
    pid: int
    guard: Guard
    service: Service | None = None
    tls: bool = False


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


def wait_until_answers(
    child: subprocess.Popen[bytes],
    port: int,
    path: str,
    log: Path,
    certificate: Path | None = None,
) -> None:
    """Returns once the port answers a GET at all, over TLS if there is a certificate to trust.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            # Some answer before they have read what to do.
            if status(port, request, certificate, timeout=1.0) not in {404, 503}:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{child.args!r} did not start: {_tail(log)}")


def probe(peer: Peer, workload: Workload) -> None:
    """Sends what must be refused: a guard that lets it pass is not worth measuring.

    Raises:
        RuntimeError: with what was let through, or refused.
    """
    certificate = workload.certificate if peer.tls else None
    sound = status(peer.port, workload.sound, certificate)
    if sound != 200:
        raise RuntimeError(f"{peer.name} answered {sound} to a sound request")
    for each in workload.probes:
        expected = EXPECTED[peer.guard][each.fault]
        got = status(peer.port, each.request, certificate)
        if got not in expected:
            wanted = " or ".join(str(code) for code in sorted(expected))
            raise RuntimeError(f"{peer.name} answered {got} to {each.why}, expected {wanted}")


def status(port: int, request: bytes, certificate: Path | None = None, timeout: float = 5.0) -> int:
    """The status of the answer to a request, sent byte for byte over a new connection.

    Raises:
        OSError, http.client.HTTPException: there was no answer.
    """
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        if certificate is None:
            return _asked(connection, request)
        context = ssl.create_default_context(cafile=str(certificate))
        with context.wrap_socket(connection, server_hostname=HOST) as secured:
            return _asked(secured, request)


def _asked(connection: socket.socket, request: bytes) -> int:
    connection.sendall(request)
    answer = http.client.HTTPResponse(connection, method="GET")
    try:
        answer.begin()
        return answer.status
    finally:
        answer.close()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:]
