"""WebSockets: CPU for each message beside nginx and a plain aiohttp relay; lag; memory.

Run: ``python -m perf.websockets [--seconds 3] [--rounds 5] [--sockets 1000]``. The proxies are
pinned to one core, clients and upstream to the other; rounds are interleaved, and ratios are of
medians.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop

from perf import machine
from perf.machine import free_port
from perf.peers import nginx
from perf.peers.peer import AbsentError, running, wait_until_answers
from perf.websockets.echo import Client, connected
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
_ADMIN = "not-a-secret-it-is-for-a-benchmark"
_PAYLOAD = 100
_CHATTING = 64
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
    port = free_port()
    with machine.pinned(machine.LOAD_CORE):
        child = subprocess.Popen(
            [sys.executable, "-m", "perf.websockets.echo", str(port), str(_PAYLOAD)]
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
def sidecar(folder: Path, application: int) -> Iterator[Sidecar]:
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
                    "admin": {"address": f"127.0.0.1:{admin}", "token": _ADMIN},
                    "upstreams": {"app": {"url": f"http://127.0.0.1:{application}"}},
                    "stores": {
                        "postgres": {"dsn": stores.database_url},
                        "redis": {"url": stores.redis_url},
                    },
                    "audit": {"sink": f"file:{folder}/audit.jsonl"},
                    "credentials": {"token_key": _KEY},
                    "routes": [
                        {"path": "/ws", "permission": "orders:read", "websocket": {}},
                    ],
                }
            )
        )
        command = [sys.executable, "-m", "sidecar", "run", "--config", str(settings)]
        with running(command, log) as child:
            wait_until_answers(child, admin, "/readyz", log)
            yield Sidecar(port, child.pid, admin, token, sessions)


async def _cpu(port: int, pid: int, token: str, seconds: float) -> tuple[float, float]:
    """CPU microseconds for a message (one direction), and messages a second."""
    clients = await connected(port, _CHATTING, _PAYLOAD, token, "/ws")
    for client in clients:
        client.chat()
    await asyncio.sleep(0.3)
    begun = sum(client.messages for client in clients), machine.cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(seconds)
    done = sum(client.messages for client in clients), machine.cpu_seconds(pid), time.monotonic()
    for client in clients:
        client.is_chatting = False
        client.transport.abort()
    await asyncio.sleep(0.1)
    # Each message goes there and back.
    messages = 2 * (done[0] - begun[0])
    return (done[1] - begun[1]) / messages * 1e6, messages / (done[2] - begun[2])


async def _lags(
    proxy: Sidecar, sessions: list[IssuedSession], sockets: int
) -> tuple[list[float], list[float]]:
    """Seconds from asking to revoke a session until each of its WebSockets was closed.

    Gives those of sessions revoked one by one, while a tenth of all talk; and those of half of
    the WebSockets at once, all of one session.
    """
    *few, many = sessions
    each = sockets // 2 // len(few)
    by_session = [
        await connected(proxy.port, each, _PAYLOAD, session.token, "/ws") for session in few
    ]
    at_once = await connected(proxy.port, sockets // 2, _PAYLOAD, many.token, "/ws")
    chatting = asyncio.create_task(_chat(at_once[: sockets // 10]))
    one_by_one: list[float] = []
    async with aiohttp.ClientSession() as http:
        for session, clients in zip(few, by_session, strict=True):
            one_by_one += await _revoke(http, proxy, session, clients)
        chatting.cancel()
        return sorted(one_by_one), sorted(await _revoke(http, proxy, many, at_once))


async def _chat(clients: list[Client]) -> None:
    """About a thousand messages a second: far from what the proxy can do."""
    while True:
        for client in clients:
            client.say()
            await asyncio.sleep(0.001)


async def _revoke(
    http: aiohttp.ClientSession, proxy: Sidecar, session: IssuedSession, clients: list[Client]
) -> list[float]:
    begun = time.time()
    async with http.delete(
        f"http://127.0.0.1:{proxy.admin}/admin/v1/tenants/demo/sessions/{session.id}",
        headers={"Authorization": f"Bearer {_ADMIN}"},
    ) as answer:
        assert answer.status == 200, await answer.text()
    async with asyncio.timeout(20):
        await asyncio.gather(*(client.closed.wait() for client in clients))
    return [client.closed_at - begun for client in clients]


async def _memory(port: int, pid: int, token: str, sockets: int) -> float:
    """KB of the proxy for each idle WebSocket."""
    before = machine.resident_bytes(pid)
    clients = await connected(port, sockets, _PAYLOAD, token, "/ws")
    await asyncio.sleep(1.0)
    after = machine.resident_bytes(pid)
    for client in clients:
        client.transport.abort()
    await asyncio.sleep(1.0)
    return (after - before) / sockets / 1024


@contextmanager
def _nginx(folder: Path, application: int) -> Iterator[tuple[int, int]]:
    port = free_port()
    servers = _NGINX.format(port=port, upstream=application)
    with nginx.served(folder / "nginx", servers, port, path="/readyz") as pid:
        yield port, pid


@contextmanager
def _plain(folder: Path, application: int) -> Iterator[tuple[int, int]]:
    port, log = free_port(), folder / "plain.out"
    command = [sys.executable, "-m", "perf.websockets.plain", str(port), str(application)]
    with running(command, log) as child:
        wait_until_answers(child, port, "/readyz", log)
        yield port, child.pid


def _compare(proxies: dict[str, tuple[int, int, str]], rounds: int, seconds: float) -> None:
    figures: dict[str, list[tuple[float, float]]] = {each: [] for each in proxies}
    for _ in range(rounds):
        for each, (port, pid, token) in proxies.items():
            figures[each].append(uvloop.run(_cpu(port, pid, token, seconds)))
    medians = {each: statistics.median(cpu for cpu, _ in rows) for each, rows in figures.items()}
    for each, rows in figures.items():
        rate = statistics.median(rate for _, rate in rows)
        print(
            f"{each:10} {medians[each]:7.2f} us of CPU/message {rate:9.0f} messages/s "
            f"{medians['sidecar'] / medians[each]:6.2f} (sidecar/this)"
        )


def _tell(what: str, seconds: list[float]) -> None:
    p50, p99 = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
    print(f"{what}: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms ({len(seconds)})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sockets", type=int, default=1000)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sidecar-perf-") as name,
        upstream() as application,
        ExitStack() as stack,
    ):
        folder = Path(name)
        folder.chmod(0o711)
        ours = stack.enter_context(sidecar(folder / "sidecar", application))
        proxies = {"sidecar": (ours.port, ours.pid, ours.token)}
        for other, started in (("nginx", _nginx), ("aiohttp", _plain)):
            try:
                proxies[other] = (*stack.enter_context(started(folder, application)), "")
            except AbsentError as absent:
                print(f"{other} is left out: {absent}")
        with machine.pinned(machine.LOAD_CORE):
            _compare(proxies, asked.rounds, asked.seconds)
            # Once before, so that what is allocated once is not counted.
            uvloop.run(_memory(ours.port, ours.pid, ours.token, 100))
            kilobytes = uvloop.run(_memory(ours.port, ours.pid, ours.token, asked.sockets))
            print(f"memory: {kilobytes:.1f} KB for each of {asked.sockets} idle WebSockets")
            one_by_one, at_once = uvloop.run(_lags(ours, ours.sessions, asked.sockets))
            _tell("asked to revoke -> closed, one session after the other", one_by_one)
            _tell("all of one session at once", at_once)


if __name__ == "__main__":
    main()
