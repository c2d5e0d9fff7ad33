"""The proxies of WebSockets that are compared, and the application behind them."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perf import machine
from perf.machine import free_port
from perf.peers import nginx
from perf.peers.peer import running, wait_until_answers
from sidecar.accounts.sessions import IssuedSession, Sessions
from sidecar.authenticate.opaque import signing_key
from sidecar.demo.tenant import prepare
from sidecar.embedded import EmbeddedStack
from sidecar.model.change import Change, Level
from sidecar.settings.schema import Postgres
from sidecar.store.migrate import migrate
from sidecar.store.pool import Pool
from sidecar.store.sessions import SessionRows

_KEY = "not a secret: it is for a benchmark"
ADMIN = "not-a-secret-it-is-for-a-benchmark"
PAYLOAD = 100
_SESSIONS = 51

_NGINX = """\
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location /readyz {{ return 200; }}
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_set_header Host $host;
    }}
  }}
"""


@contextmanager
def upstream() -> Iterator[int]:
    """An application that answers each message; yields its port."""
    port = free_port()
    with machine.pinned(machine.LOAD_CORE):
        child = subprocess.Popen(
            [sys.executable, "-m", "perf.websockets.echo", str(port), str(PAYLOAD)]
        )
    try:
        time.sleep(1.0)
        yield port
    finally:
        child.terminate()
        child.wait()


@dataclass
class Sidecar:
    """A running sidecar.

    Attributes:
        port: of its traffic listener.
        pid: its own.
        admin: port of its admin listener.
        token: of a session that lasts.
        sessions: that may be revoked.
    """

    port: int
    pid: int
    admin: int
    token: str
    sessions: list[IssuedSession]


async def _seed(dsn: str) -> tuple[str, list[IssuedSession]]:
    async def publish(_changes: Sequence[Change]) -> Level:
        return Level.COMMITTED

    await migrate(dsn)
    async with Pool(Postgres(dsn=dsn)) as pool:
        tokens = await prepare(pool, _KEY, {})
        sessions = Sessions(SessionRows(pool), publish, signing_key(_KEY), wall=time.time)
        made = [await sessions.issue("demo", "bob", 3600.0) for _ in range(_SESSIONS)]
    return next(token for name, token in tokens.items() if name.startswith("ALICE")), made


@contextmanager
def sidecar(
    folder: Path, application: int, rules: Mapping[str, Mapping[str, object]] | None = None
) -> Iterator[Sidecar]:
    """A sidecar with sessions, and more routes.

    Args:
        rules: path -> `websocket` of its route; ``/ws`` is there anyway, with nothing.
    """
    sections = {"/ws": {}, **(rules or {})}
    folder.mkdir()
    folder.chmod(0o711)
    port, admin, log = free_port(), free_port(), folder / "sidecar.out"
    with EmbeddedStack(folder / "stores", durable=False) as stores:
        token, sessions = asyncio.run(_seed(stores.database_url))
        settings = folder / "sidecar.yaml"
        settings.write_text(
            json.dumps(
                {
                    "listen": {"address": f"127.0.0.1:{port}"},
                    "admin": {"address": f"127.0.0.1:{admin}", "token": ADMIN},
                    "upstreams": {"app": {"url": f"http://127.0.0.1:{application}"}},
                    "stores": {
                        "postgres": {"dsn": stores.database_url},
                        "redis": {"url": stores.redis_url},
                    },
                    "audit": {"sink": f"file:{folder}/audit.jsonl"},
                    "credentials": {"token_key": _KEY},
                    "routes": [
                        {"path": path, "permission": "orders:read", "websocket": section}
                        for path, section in sections.items()
                    ],
                }
            )
        )
        command = [sys.executable, "-m", "sidecar", "run", "--config", str(settings)]
        with running(command, log) as child:
            wait_until_answers(child, admin, "/readyz", log)
            yield Sidecar(port, child.pid, admin, token, sessions)


@contextmanager
def nginx_relay(folder: Path, application: int) -> Iterator[tuple[int, int]]:
    """nginx as proxy of WebSockets; its port and pid."""
    port = free_port()
    servers = _NGINX.format(port=port, upstream=application)
    with nginx.served(folder / "nginx", servers, port, path="/readyz") as pid:
        yield port, pid


@contextmanager
def plain_relay(folder: Path, application: int) -> Iterator[tuple[int, int]]:
    """What is quickly written with aiohttp alone; its port and pid."""
    port, log = free_port(), folder / "plain.out"
    command = [sys.executable, "-m", "perf.websockets.plain", str(port), str(application)]
    with running(command, log) as child:
        wait_until_answers(child, port, "/readyz", log)
        yield port, child.pid
