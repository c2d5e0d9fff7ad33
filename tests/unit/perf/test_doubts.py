import asyncio
from pathlib import Path

import pytest

from perf.load.doubts import Doubt, Doubter
from perf.peers.peer import Guard, Peer
from perf.rounds import doubted
from perf.workload import prepared

BAD = b"GET /bad HTTP/1.1\r\nHost: h\r\n\r\n"
SOUND = b"GET /sound HTTP/1.1\r\nHost: h\r\n\r\n"
DOUBTS = [
    Doubt("a sound request", SOUND, frozenset({200})),
    Doubt("a forged signature", BAD, frozenset({401})),
]


class Proxy:
    """Answers bad requests with 401 so often, then lets them pass."""

    def __init__(
        self, times: int, *, closes: bool = False, framing: bytes = b"Content-Length: 0\r\n\r\n"
    ) -> None:
        self._framing = framing
        self._left = times
        self._closes = closes

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                is_refused = head == BAD and self._left > 0
                self._left -= is_refused
                status = b"401 No" if is_refused else b"200 OK"
                framing = self._framing if is_refused else b"Content-Length: 0\r\n\r\n"
                writer.write(b"HTTP/1.1 " + status + b"\r\n" + framing)
                if is_refused and self._closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            writer.close()


async def doubting(proxy: Proxy) -> Doubter:
    """Until something is let through."""
    async with await asyncio.start_server(proxy.answer, "127.0.0.1", 0) as server:
        doubter = Doubter(server.sockets[0].getsockname()[1], DOUBTS, None)
        with pytest.raises(RuntimeError, match="200 to a forged signature under load, not 401"):
            await doubter.run()
        return doubter


async def test_what_is_let_through_under_load_is_told() -> None:
    doubter = await doubting(Proxy(2))
    assert doubter.asked == 5
    assert doubter.connections == 1


async def test_a_proxy_may_close_after_a_refusal() -> None:
    doubter = await doubting(Proxy(2, closes=True))
    assert doubter.asked == 5
    assert doubter.connections == 3


async def test_a_refusal_may_come_in_chunks_and_takes_its_connection() -> None:
    chunked = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    doubter = await doubting(Proxy(2, framing=chunked))
    assert doubter.asked == 5
    assert doubter.connections == 3


def test_each_probe_has_a_sound_request_before_it(tmp_path: Path) -> None:
    workload = prepared(tmp_path)
    peer = Peer("haproxy-jwt", "1", 1, 1, Guard.AUTHENTICATES)
    read = Doubt.read(doubted(peer, workload))
    assert [each.expected for each in read[::2]] == [frozenset({200})] * len(workload.probes)
    assert {each.why for each in read[1::2]} == {probe.why for probe in workload.probes}
    assert read[3].expected == frozenset({401})
