"""``python -m sidecar.demo`` as a process."""

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp
import pytest


async def _start(*arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    """The running application and the address it wrote."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar.demo", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        line = await child.stdout.readline()
    return child, line.decode().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_on_a_free_port_until_told_to_stop(number: signal.Signals) -> None:
    child, address = await _start("--port", "0")
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{address}/healthz") as answer,
        ):
            assert answer.status == 200
    finally:
        child.send_signal(number)
        async with asyncio.timeout(30):
            assert await child.wait() == 0


async def test_it_serves_on_a_unix_socket(tmp_path: Path) -> None:
    place = tmp_path / "demo.sock"
    child, address = await _start("--unix", str(place))
    try:
        assert address == f"unix:{place}"
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(place))) as session,
            session.get("http://demo/healthz") as answer,
        ):
            assert answer.status == 200
    finally:
        child.terminate()
        async with asyncio.timeout(30):
            assert await child.wait() == 0
