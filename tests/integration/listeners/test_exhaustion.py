"""No file descriptors: accepting neither spins nor takes away what serves those who are there."""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.listen.descriptors import ceiling, most_clients
from tests.plane import OK, RawClient, ScriptedUpstream, replying

ROOT = Path(__file__).parents[3]
FILES = 256


class Exhausted:
    """A data plane with few descriptors, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    async def counted(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        found: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return found

    async def until(self, **least: int) -> dict[str, Any]:
        """Ask until each number is reached."""
        async with asyncio.timeout(20):
            while True:
                found = await self.counted()
                if all(found[name] >= number for name, number in least.items()):
                    return found
                await asyncio.sleep(0.01)


@asynccontextmanager
async def exhausted(url: str, mode: str) -> AsyncIterator[Exhausted]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.listeners.exhausted",
        url,
        str(FILES),
        mode,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield Exhausted(process, int(await process.stdout.readline()))
    finally:
        process.stdin.close()
        await process.wait()


async def test_clients_leave_what_upstreams_need() -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, exhausted(upstream.url, "reserve") as plane:
        first = await RawClient.connect(plane.port)
        clients = [await RawClient.connect(plane.port) for _ in range(FILES)]
        room = most_clients(FILES, 9_999, 256)
        counted = await plane.until(open=room, refused=FILES + 1 - room)
        assert counted["pauses"] == 0
        assert (await first.get("/")).status == 200
        for client in (first, *clients):
            client.close()


async def test_without_a_descriptor_accepting_pauses_and_the_served_are_served() -> None:
    serve, _ = replying(OK)
    async with ScriptedUpstream(serve) as upstream, exhausted(upstream.url, "none") as plane:
        first = await RawClient.connect(plane.port)
        assert (await first.get("/")).status == 200
        clients = [await RawClient.connect(plane.port) for _ in range(FILES)]
        before = await plane.until(pauses=1)
        for _ in range(20):
            # Over the connection with the upstream that is there.
            assert (await first.get("/")).status == 200
        after = await plane.until(pauses=before["pauses"] + 3)
        tried = after["pauses"] - before["pauses"]
        assert tried < 60, "it does not spin"
        assert after["refused"] == 0
        for client in clients[: FILES // 2]:
            client.close()
        # Those who waited in the queue are taken now.
        assert (await clients[-1].get("/")).status == 200
        for client in (first, *clients[FILES // 2 :]):
            client.close()


@pytest.mark.parametrize(
    ("descriptors", "wanted", "upstreams", "clients"),
    [
        (1_048_576, 10_000, 256, 10_000),
        (10_320, 10_000, 256, 10_000),
        (10_319, 10_000, 256, 9_999),
        (1024, 10_000, 256, 704),
        (256, 10_000, 256, 96),
        (256, 50, 256, 50),
        (70, 10_000, 256, 3),
        (10, 10_000, 256, 1),
    ],
)
def test_how_descriptors_are_shared(
    descriptors: int, wanted: int, upstreams: int, clients: int
) -> None:
    assert most_clients(descriptors, wanted, upstreams) == clients


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The limits of this process, as the code sees them."""
    found: dict[str, Any] = {"now": (1024, 4096), "set": []}
    monkeypatch.setattr(resource, "getrlimit", lambda _: found["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: found["set"].append(both))
    return found


@pytest.mark.parametrize(
    ("now", "wanted", "set_to", "clients"),
    [
        ((1024, 4096), 2_000, [(2_080, 4096)], 2_000),
        ((1024, 4096), 10_000, [(4096, 4096)], 4_016),
        ((1024, 1024), 10_000, [], 944),
        ((1024, resource.RLIM_INFINITY), 10_000, [(10_080, resource.RLIM_INFINITY)], 10_000),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 10_000, [], 10_000),
        ((100_000, 100_000), 10_000, [], 10_000),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_needed(
    now: tuple[int, int],
    wanted: int,
    set_to: list[tuple[int, int]],
    clients: int,
    limits: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits["now"] = now
    assert ceiling(wanted, 16) == clients
    assert limits["set"] == set_to
    assert bool(caplog.records) == (clients < wanted)


def test_operators_have_descriptors_of_their_own(limits: dict[str, Any]) -> None:
    limits["now"] = (1024, 1024)
    assert ceiling(10_000, 16, 64) == ceiling(10_000, 16) - 64
    limits["now"] = (1024, resource.RLIM_INFINITY)
    assert ceiling(10_000, 16, 64) == 10_000
    assert limits["set"][-1] == (10_144, resource.RLIM_INFINITY)
