"""What the fuzzing client talks to: an echo server, and a sidecar before it, as processes."""

import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sidecar.embedded import EmbeddedStack
from sidecar.embedded.spawn import free_port
from sidecar.store.migrate import migrate

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
READING: Final = "/reading"
# Of the longest case, and the default for what passes unread.
_LONGEST: Final = 16_777_216
_ROOT: Final = Path(__file__).parents[3]


@contextmanager
def echo(folder: Path) -> Iterator[int]:
    """The echo server (`echo.py`); gives its port."""
    port = free_port()
    command = [sys.executable, "-m", "tests.conformance.autobahn.echo", str(port)]
    with _running(command, folder / "echo.log", port, "/ready"):
        yield port


@contextmanager
def sidecar(folder: Path, upstream: int) -> Iterator[int]:
    """A sidecar with its stores; gives the port whose every path leads to `upstream`."""
    port, admin = free_port(), free_port()
    with EmbeddedStack(folder / "stores", durable=False) as stores:
        asyncio.run(migrate(stores.database_url))
        written = folder / "sidecar.yaml"
        written.write_text(json.dumps(settings(port, admin, upstream, stores)))
        command = [sys.executable, "-m", "sidecar", "run", "--config", str(written)]
        with _running(command, folder / "sidecar.log", admin, "/readyz"):
            yield port


def settings(port: int, admin: int, upstream: int, stores: EmbeddedStack) -> dict[str, object]:
    """Public routes, one of which (`READING`) reads all messages; no case reaches a limit."""
    read = {"protocol": "hook", "hook": "tests.conformance.autobahn.hook:read"}
    rules = [{"type": "any", "direction": side, "access": "route"} for side in ("client", "server")]
    messages = {**read, "refused": "drop", "longest_bytes": _LONGEST, "rules": rules}
    return {
        "listen": {"address": f"127.0.0.1:{port}"},
        "admin": {"address": f"127.0.0.1:{admin}"},
        "upstreams": {"app": {"url": f"http://127.0.0.1:{upstream}"}},
        "stores": {
            "postgres": {"dsn": stores.database_url},
            "redis": {"url": stores.redis_url},
        },
        "credentials": {"token_key": "not a secret: nothing is signed with it here"},
        "audit": {"sink": "off"},
        "routes": [
            {"path": "/", "access": "public", "websocket": {}},
            {
                "path": READING,
                "access": "public",
                "websocket": {"read_bytes": _LONGEST, "messages": messages},
            },
            {"path": "/{rest*}", "access": "public", "websocket": {}},
        ],
    }


@contextmanager
def _running(command: list[str], log: Path, port: int, path: str) -> Iterator[None]:
    with log.open("wb") as words:
        child = subprocess.Popen(command, stdout=words, stderr=words, cwd=_ROOT)
    try:
        _wait_until_ready(child, log, port, path)
        yield
        if child.poll() is not None:
            raise RuntimeError(f"ended with {child.returncode}: {log.read_text()[-2_000:]}")
    finally:
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_until_ready(child: subprocess.Popen[bytes], log: Path, port: int, path: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"{command_of(child)} did not start: {log.read_text()[-2_000:]}")


def command_of(child: subprocess.Popen[bytes]) -> str:
    """What was started, for a message."""
    arguments = child.args
    return " ".join(map(str, arguments)) if isinstance(arguments, list) else str(arguments)
