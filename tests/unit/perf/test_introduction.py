import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from perf.load import introduction
from perf.load.introduction import introduced

REQUESTS = [b"GET /a HTTP/1.1\r\n\r\n", b"GET /b HTTP/1.1\r\n\r\n"]


@asynccontextmanager
async def answering(statuses: list[int], *, framed: bool = True) -> AsyncIterator[int]:
    """A server that gives these answers in turn, then closes; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for status in statuses:
            await reader.readuntil(b"\r\n\r\n")
            length = b"Content-LENGTH: 2\r\n" if framed else b""
            writer.write(b"HTTP/1.1 %d Some\r\n%b\r\nok" % (status, length))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introduction, "_PATIENCE_SECONDS", 0.0)


@pytest.mark.parametrize(("statuses", "again"), [([200, 200], 0), ([503, 200, 503, 503, 200], 3)])
async def test_each_request_is_sent_until_it_is_let_in(statuses: list[int], again: int) -> None:
    async with answering(statuses) as port:
        assert await introduced(port, REQUESTS) == again


@pytest.mark.parametrize("status", [401, 403, 502])
async def test_any_other_answer_ends_it(status: int) -> None:
    async with answering([200, status]) as port:
        with pytest.raises(RuntimeError, match=f"answered {status}"):
            await introduced(port, REQUESTS)


async def test_patience_has_an_end() -> None:
    async with answering([503] * introduction.TRIES) as port:
        with pytest.raises(RuntimeError, match="answered 503"):
            await introduced(port, REQUESTS)


async def test_an_answer_without_a_length_ends_it() -> None:
    async with answering([200], framed=False) as port:
        with pytest.raises(RuntimeError, match="without a length"):
            await introduced(port, REQUESTS)


async def test_a_closed_connection_ends_it() -> None:
    async with answering([200]) as port:
        with pytest.raises(ConnectionResetError):
            await introduced(port, REQUESTS)
