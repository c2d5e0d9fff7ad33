"""Operators' connections: few, none without a deadline, and a newcomer is always served."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.listen import operators
from sidecar.listen.operators import OperatorSite, runner_of
from sidecar.settings.address import Address, TcpAddress, UnixAddress

ASK = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
HALF = ASK[:-2]
MOST = 4
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def application() -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(16_000_000))

    made = web.Application()
    made.router.add_get("/healthz", healthz)
    made.router.add_get("/large", large)
    return made


class Listener:
    """Where operators connect; gives connections and ends them."""

    def __init__(self, runner: web.AppRunner, address: Address, stack: AsyncExitStack) -> None:
        self._runner = runner
        self._address = address
        self._stack = stack

    async def connect(self, sent: bytes = b"") -> Streams:
        if isinstance(self._address, UnixAddress):
            reader, writer = await asyncio.open_unix_connection(self._address.path)
        else:
            reader, writer = await asyncio.open_connection(*self._runner.addresses[0][:2])
        self._stack.callback(writer.close)
        writer.write(sent)
        return reader, writer

    @property
    def open(self) -> int:
        assert self._runner.server is not None
        return len(self._runner.server.connections)


@asynccontextmanager
async def listening(address: Address) -> AsyncIterator[Listener]:
    async with AsyncExitStack() as stack:
        runner = runner_of(application())
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await OperatorSite(runner, address, MOST).start()
        yield Listener(runner, address, stack)


@pytest.fixture(params=["tcp", "unix"])
async def listener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Listener]:
    at = UnixAddress(f"{tmp_path}/s") if request.param == "unix" else TcpAddress("127.0.0.1", 0)
    async with asyncio.timeout(20), listening(at) as opened:
        yield opened


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What still came, once the connection is over."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def answer(streams: Streams) -> bytes:
    reader, _ = streams
    return await reader.readuntil(b"ok\n")


async def test_who_holds_all_places_keeps_nobody_out(listener: Listener) -> None:
    silent = [await listener.connect(HALF) for _ in range(3 * MOST)]
    assert (await answer(await listener.connect(ASK))).startswith(b"HTTP/1.1 200 ")
    for reader, _ in silent[: 2 * MOST]:
        assert await ended(reader) == b""
    assert listener.open <= MOST


async def test_who_does_not_read_has_to_go_as_well(listener: Listener) -> None:
    """What is still to be written would keep a connection that is only closed."""
    greedy = [await listener.connect(ASK.replace(b"healthz", b"large")) for _ in range(MOST)]
    for reader, _ in greedy:
        await reader.readexactly(1000)
    for _ in range(MOST):
        await answer(await listener.connect(ASK))
    for reader, _ in greedy:
        assert len(await ended(reader)) < 16_000_000
    assert listener.open <= MOST


async def test_within_the_bound_nobody_has_to_go(listener: Listener) -> None:
    all_of_them = [await listener.connect(ASK) for _ in range(MOST)]
    for streams in all_of_them:
        await answer(streams)
    for streams in all_of_them:
        streams[1].write(ASK)
        await answer(streams)
    assert listener.open == MOST


@pytest.mark.parametrize("before", [b"", ASK], ids=["first", "second"])
@pytest.mark.parametrize("sent", [b"", HALF])
async def test_a_head_comes_in_time_or_not_at_all(
    before: bytes, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "IDLE_SECONDS", 0.2)
    async with asyncio.timeout(20), listening(TcpAddress("127.0.0.1", 0)) as listener:
        streams = await listener.connect(before)
        if before:
            await answer(streams)
        streams[1].write(sent)
        assert await ended(streams[0]) == b""


async def test_dripping_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "IDLE_SECONDS", 0.2)
    async with asyncio.timeout(20), listening(TcpAddress("127.0.0.1", 0)) as listener:
        reader, writer = await listener.connect(b"GET / HTTP/1.1\r\n")
        ending = asyncio.ensure_future(ended(reader))
        while not ending.done():
            writer.write(b"a: b\r\n")
            await asyncio.wait([ending], timeout=0.01)
        assert await ending == b""


async def test_a_socket_that_was_opened_before_serves_as_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.setblocking(False)
        runner = runner_of(application())
        await runner.setup()
        await OperatorSite(runner, opened, MOST).start()
        reader, writer = await asyncio.open_connection(*opened.getsockname())
        writer.write(ASK)
        assert (await answer((reader, writer))).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await runner.cleanup()
