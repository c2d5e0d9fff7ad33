"""WebSockets: CPU for each message beside nginx and a plain aiohttp relay; lag; memory.

Run: ``python -m perf.websockets [--seconds 3] [--rounds 5] [--sockets 1000]``. The proxies are
pinned to one core, clients and upstream to the other; rounds are interleaved, and ratios are of
medians.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import uvloop

from perf import machine
from perf.peers.peer import AbsentError
from perf.websockets.echo import Client, connected
from perf.websockets.proxies import (
    ADMIN,
    PAYLOAD,
    Sidecar,
    nginx_relay,
    plain_relay,
    sidecar,
    upstream,
)
from sidecar.accounts.sessions import IssuedSession

_CHATTING = 64


async def _cpu(port: int, pid: int, token: str, seconds: float) -> tuple[float, float]:
    """CPU microseconds for a message (one direction), and messages a second."""
    clients = await connected(port, _CHATTING, PAYLOAD, token, "/ws")
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
        await connected(proxy.port, each, PAYLOAD, session.token, "/ws") for session in few
    ]
    at_once = await connected(proxy.port, sockets // 2, PAYLOAD, many.token, "/ws")
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
        headers={"Authorization": f"Bearer {ADMIN}"},
    ) as answer:
        assert answer.status == 200, await answer.text()
    async with asyncio.timeout(20):
        await asyncio.gather(*(client.closed.wait() for client in clients))
    return [client.closed_at - begun for client in clients]


async def _memory(port: int, pid: int, token: str, sockets: int) -> float:
    """KB of the proxy for each idle WebSocket."""
    before = machine.resident_bytes(pid)
    clients = await connected(port, sockets, PAYLOAD, token, "/ws")
    await asyncio.sleep(1.0)
    after = machine.resident_bytes(pid)
    for client in clients:
        client.transport.abort()
    await asyncio.sleep(1.0)
    return (after - before) / sockets / 1024


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
        for other, started in (("nginx", nginx_relay), ("aiohttp", plain_relay)):
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
