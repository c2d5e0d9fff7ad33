"""Several workers, as processes: one socket, one admin listener, and what happens when one dies."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.embedded import EmbeddedStack
from tests.certificates import Authority
from tests.plane import OK, Holding, ScriptedUpstream, replying
from tests.tls_clients import trusting


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Fleet:
    """A supervisor with its workers."""

    def __init__(
        self, process: asyncio.subprocess.Process, url: str, admin: str, log: Path
    ) -> None:
        self.process = process
        self.url = url
        self.admin = admin
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def children(self) -> list[int]:
        """Pids in the order of their start: workers, then the admin listener."""
        pid = self.process.pid
        try:
            return [
                int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            ]
        except FileNotFoundError:
            return []

    async def admin_text(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.admin + path) as answer:
            return answer.status, await answer.text()

    async def starts(self) -> list[int]:
        """How often each worker was started."""
        _, text = await self.admin_text("/metrics")
        return [
            int(found)
            for found in re.findall(r"^sidecar_worker_starts_total{.*} (\d+)", text, re.MULTILINE)
        ]

    async def ready(self) -> None:
        async with asyncio.timeout(40):
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    if (await self.admin_text("/readyz"))[0] == 200:
                        return
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.05)

    async def get(self, session: aiohttp.ClientSession) -> int:
        """Status over a connection of its own."""
        async with session.get(self.url + "/", headers={"Connection": "close"}) as answer:
            await answer.read()
            return answer.status

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.05)

    async def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            return await self.process.wait()


Start = Callable[..., Any]


@pytest.fixture
def start(database: str, stack: EmbeddedStack, tmp_path: Path) -> Start:
    """Starts a supervisor before an upstream."""

    @asynccontextmanager
    async def started(upstream: str, *, wait: bool = True, **sections: Any) -> AsyncIterator[Fleet]:
        port, admin = free_port(), free_port()
        listen = {"address": f"127.0.0.1:{port}", "workers": 2, "deadlines": {"drain_seconds": 5}}
        document = {
            "listen": listen | sections.pop("listen", {}),
            "admin": {"address": f"127.0.0.1:{admin}"},
            "upstreams": {"app": {"url": upstream}},
            "stores": {
                "postgres": {"dsn": database},
                "redis": {"url": stack.redis_url, "prefix": f"workers-{port}"},
            },
            "credentials": {"token_key": "k" * 32},
            "routes": [{"path": "/{rest*}", "access": "public"}, {"path": "/", "access": "public"}],
            "audit": {"sink": "off"},
        }
        config, log = tmp_path / f"{port}.yaml", tmp_path / f"{port}.log"
        config.write_text(json.dumps(document | sections))
        with log.open("w") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sidecar", "run", "--config", str(config), stderr=file
            )
        scheme = "https" if "tls" in document["listen"] else "http"
        fleet = Fleet(process, f"{scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", log)
        try:
            if wait:
                await fleet.ready()
            yield fleet
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    return started


async def test_workers_serve_and_end_together(start: Start) -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, start(upstream.url) as fleet:
        async with aiohttp.ClientSession() as session:
            statuses = [await fleet.get(session) for _ in range(40)]
        assert statuses == 40 * [200]
        assert len(fleet.children()) == 3
        _, metrics = await fleet.admin_text("/metrics")
        counts = re.findall(
            r'^sidecar_requests_total{worker="(\d)",.*} ([\d.]+)$', metrics, re.MULTILINE
        )
        assert sum(float(count) for _, count in counts) == 40
        assert metrics.count("# TYPE sidecar_requests_total counter") == 1
        assert await fleet.starts() == [1, 1]
        assert (await fleet.admin_text("/healthz")) == (200, "ok\n")
        assert (await fleet.admin_text("/nothing"))[0] == 404, "passed on to a worker"
        (folder,) = re.findall(r"unix:(\S*)/worker-0\.sock", fleet.log)
        assert await fleet.end() == 0
        assert not os.path.exists(folder)  # noqa: ASYNC240, PTH110 - all has ended
        with pytest.raises(aiohttp.ClientConnectorError):
            await fleet.admin_text("/healthz")


async def test_a_killed_worker_comes_back_and_the_other_serves(start: Start) -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, start(upstream.url) as fleet:
        outcomes: list[int] = []
        is_over = False

        async def load() -> None:
            async with aiohttp.ClientSession() as session:
                while not is_over:
                    try:
                        outcomes.append(await fleet.get(session))
                    except aiohttp.ClientError:
                        outcomes.append(0)

        loads = [asyncio.create_task(load()) for _ in range(4)]
        await fleet.until(lambda: len(outcomes) > 20)
        os.kill(fleet.children()[0], signal.SIGKILL)
        killed_at = len(outcomes)
        await fleet.until(lambda: len(outcomes) > killed_at + 200)
        async with asyncio.timeout(30):
            while sorted(await fleet.starts()) != [1, 2]:
                await asyncio.sleep(0.05)
        await fleet.ready()
        is_over = True
        await asyncio.gather(*loads)
        # At most what was under way in the one that was killed.
        assert outcomes.count(0) <= len(loads)
        assert set(outcomes) <= {0, 200}
        assert "ended: signal 9; again in" in fleet.log
        assert await fleet.end() == 0


async def test_a_worker_that_hangs_is_killed_and_started_again(start: Start) -> None:
    serve, _ = replying(OK)
    async with (
        ScriptedUpstream(serve) as upstream,
        start(upstream.url, listen={"worker_hung_seconds": 2.0}) as fleet,
    ):
        os.kill(fleet.children()[1], signal.SIGSTOP)
        status, text = await fleet.admin_text("/readyz")
        assert (status, text) == (503, "not ready: worker 1: no answer\n")
        assert (await fleet.admin_text("/healthz"))[0] == 200
        async with asyncio.timeout(30):
            while await fleet.starts() != [1, 2]:
                await asyncio.sleep(0.1)
        await fleet.ready()
        assert "hangs: it is killed" in fleet.log
        assert await fleet.end() == 0


async def test_what_is_in_flight_finishes(start: Start) -> None:
    held = Holding()
    async with ScriptedUpstream(held) as upstream, start(upstream.url) as fleet:
        async with aiohttp.ClientSession() as session:
            under_way = asyncio.create_task(fleet.get(session))
            await held.asked.wait()
            ending = asyncio.create_task(fleet.end(signal.SIGINT))
            # Nobody new is let in, although the end takes its time.
            async with asyncio.timeout(10):
                while True:
                    try:
                        _, writer = await asyncio.open_connection(
                            "127.0.0.1", int(fleet.url.rsplit(":", 1)[1])
                        )
                    except ConnectionRefusedError:
                        break
                    writer.close()
                    await asyncio.sleep(0.05)
            assert (await fleet.admin_text("/readyz"))[0] == 503
            held.gate.set()
            assert await under_way == 200
        assert await ending == 0


async def test_a_signal_to_the_whole_group_hurries_nobody(start: Start) -> None:
    """As systemd sends it: to the supervisor and to each worker."""
    held = Holding()
    async with ScriptedUpstream(held) as upstream, start(upstream.url) as fleet:
        async with aiohttp.ClientSession() as session:
            under_way = asyncio.create_task(fleet.get(session))
            await held.asked.wait()
            for pid in fleet.children():
                os.kill(pid, signal.SIGTERM)
            ending = asyncio.create_task(fleet.end())
            await fleet.until(lambda: fleet.log.count("what is in flight may finish") == 2)
            await asyncio.sleep(0.2)
            assert not under_way.done()
            held.gate.set()
            assert await under_way == 200
        assert await ending == 0


async def test_workers_end_with_a_supervisor_that_was_killed(start: Start) -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, start(upstream.url) as fleet:
        children = fleet.children()
        assert await fleet.end(signal.SIGKILL) == -signal.SIGKILL
        await fleet.until(lambda: not any(_is_running(pid) for pid in children))


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_what_is_wrong_at_the_start_ends_it(start: Start, tmp_path: Path) -> None:
    audit = {"sink": f"file:{tmp_path}/no/such/folder"}
    async with start("http://127.0.0.1:1", wait=False, audit=audit) as fleet:
        async with asyncio.timeout(30):
            assert await fleet.process.wait() == 1
        assert "could not start (code 1)" in fleet.log
        assert "No such file or directory" in fleet.log


async def test_an_address_in_use_ends_it(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = {"address": f"127.0.0.1:{taken.getsockname()[1]}"}
        async with start("http://127.0.0.1:1", wait=False, listen=address) as fleet:
            async with asyncio.timeout(30):
                assert await fleet.process.wait() == 1
            assert "cannot listen: Address already in use" in fleet.log


async def test_a_hangup_renews_certificates_everywhere(start: Start, tmp_path: Path) -> None:
    authority = Authority()
    first, second = authority.server(), authority.server()
    certificate, key = first.write(tmp_path, "server")
    tls = {"certificate": certificate, "key": key, "reload_seconds": 3600.0}
    serve, _ = replying(OK)
    context = trusting(authority)
    async with (
        ScriptedUpstream(serve) as upstream,
        start(upstream.url, listen={"tls": tls}) as fleet,
    ):
        port = int(fleet.url.rsplit(":", 1)[1])
        assert await asyncio.to_thread(_presented, port, context) == first.der
        second.write(tmp_path, "server")
        fleet.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(20):
            while True:
                _, text = await fleet.admin_text("/metrics")
                renewed = re.findall(r"^sidecar_tls_reloaded_total{.*} 1.0$", text, re.MULTILINE)
                if len(renewed) == 2:
                    break
                await asyncio.sleep(0.05)
        for _ in range(10):
            assert await asyncio.to_thread(_presented, port, context) == second.der
        assert await fleet.end() == 0


def _presented(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that the server presents."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as wrapped,
    ):
        found = wrapped.getpeercert(binary_form=True)
        assert found is not None
        return found
