"""The end of a sidecar as its clients see it: real processes, real signals."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
import yaml

from sidecar.demo.tenant import prepare
from sidecar.embedded import EmbeddedStack
from sidecar.settings.schema import Postgres
from sidecar.store.pool import Pool
from tests.integration.whole.conftest import KEY, demo_application, settings
from tests.integration.whole.processes import Process, running
from tests.plane import RawClient, request

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def config(database: str, stack: EmbeddedStack, tmp_path: Path) -> AsyncIterator[Path]:
    """A configuration file before the demo application; its tenant is in the database."""
    async with demo_application() as upstream:
        root = settings(
            database,
            stack.redis_url,
            upstream,
            listen={
                "address": "127.0.0.1:0",
                "deadlines": {"drain_seconds": 30.0, "drain_delay_seconds": 1.0},
            },
        )
        path = tmp_path / "sidecar.yaml"
        path.write_text(yaml.safe_dump(msgspec.to_builtins(root)))
        yield path


@pytest.fixture
async def token(database: str) -> str:
    """Of somebody who may do everything."""
    async with Pool(Postgres(dsn=database)) as pool:
        return (await prepare(pool, KEY, {}))["ALICE_TOKEN"]


async def readiness(session: aiohttp.ClientSession, process: Process) -> tuple[int, str]:
    async with session.get(process.admin + "/readyz") as answer:
        return answer.status, await answer.text()


async def until_unready(session: aiohttp.ClientSession, process: Process) -> None:
    async with asyncio.timeout(10):
        while (await readiness(session, process))[0] == 200:
            await asyncio.sleep(0.01)


class Balancer:
    """Sends requests in turn to those that were ready when it looked last."""

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        self._session = session
        self._fields = {"Authorization": f"Bearer {token}"}
        self._turn = 0
        self.members: list[Process] = []
        self.ready: list[Process] = []
        self.outcomes: Counter[str] = Counter()
        self.served: Counter[int] = Counter()
        self.is_over = False

    async def look(self) -> None:
        """Ask all for their readiness, again and again."""
        while not self.is_over:
            found = []
            for member in list(self.members):
                try:
                    if (await readiness(self._session, member))[0] == 200:
                        found.append(member)
                except aiohttp.ClientError:
                    continue
            self.ready = found
            await asyncio.sleep(0.02)

    async def until_ready(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.ready) < count:
                await asyncio.sleep(0.01)

    async def load(self) -> None:
        """One client that never repeats a request: POST is not safe to."""
        while not self.is_over:
            self._turn += 1
            member = self.ready[self._turn % len(self.ready)]
            url = f"http://127.0.0.1:{member.port}/upload"
            try:
                async with self._session.post(url, data=b"x", headers=self._fields) as answer:
                    await answer.read()
                    self.outcomes[str(answer.status)] += 1
                    self.served[member.port] += 1
            except (aiohttp.ClientError, OSError) as error:
                self.outcomes[repr(error)] += 1


async def test_a_rolling_restart_under_load_fails_no_request(config: Path, token: str) -> None:
    async with aiohttp.ClientSession() as session:
        balancer = Balancer(session, token)
        balancer.members = [await Process.start(config) for _ in range(2)]
        tasks = [asyncio.create_task(balancer.look())]
        try:
            await balancer.until_ready(2)
            tasks += [asyncio.create_task(balancer.load()) for _ in range(8)]
            ports = {member.port for member in balancer.members}
            for leaving in list(balancer.members):
                leaving.send(signal.SIGTERM)
                assert await leaving.end() == 0
                balancer.members.remove(leaving)
                balancer.members.append(await Process.start(config))
                await balancer.until_ready(2)
            new = {member.port for member in balancer.members}
            async with asyncio.timeout(30):
                while not all(balancer.served[port] for port in new):
                    await asyncio.sleep(0.01)
        finally:
            balancer.is_over = True
            await asyncio.gather(*tasks)
            for member in balancer.members:
                await member.stop()
    assert set(balancer.outcomes) == {"200"}, balancer.outcomes
    assert all(balancer.served[port] for port in ports)


async def test_it_is_unready_first_then_says_so_in_answers_then_leaves(config: Path) -> None:
    async with running(config) as process, aiohttp.ClientSession() as session:
        old = await RawClient.connect(process.port)
        assert (await old.get("/healthz")).status == 200
        process.send(signal.SIGTERM)
        await until_unready(session, process)
        assert (await readiness(session, process)) == (503, "not ready: draining\n")
        answer = await old.get("/healthz")
        assert "connection" not in answer.fields, "nobody was told to go yet"
        async with asyncio.timeout(10):
            while "connection" not in answer.fields:
                answer = await old.get("/healthz")
                await asyncio.sleep(0.01)
        assert (answer.status, answer.fields["connection"]) == (200, "close")
        assert await old.at_end()
        old.close()
        new = await RawClient.connect(process.port)
        last = await new.get("/healthz")
        assert (last.status, last.fields["connection"]) == (200, "close"), "it still accepts"
        new.close()
        assert await process.end() == 0


async def test_the_same_signal_again_ends_at_once(config: Path, token: str) -> None:
    async with running(config) as process, aiohttp.ClientSession() as session:
        client = await RawClient.connect(process.port)
        await client.send(request("/events", f"Authorization: Bearer {token}"))
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        process.send(signal.SIGTERM)
        process.send(signal.SIGINT)
        await until_unready(session, process)
        # Both were one end: only the same one once more is impatience.
        async with asyncio.timeout(30):
            for _ in range(30):
                await client.reader.readuntil(b"event: tick")
        process.send(signal.SIGTERM)
        assert await process.end() == 128 + signal.SIGTERM
        rest = b""
        with pytest.raises(ConnectionResetError):
            while piece := await client.reader.read(65536):
                rest += piece
        assert not rest.endswith(b"0\r\n\r\n"), "never a clean end of what was broken off"
        client.close()


def test_exit_codes_are_those_of_the_documentation() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert f"| {128 + signal.SIGTERM}, {128 + signal.SIGINT} |" in operations
