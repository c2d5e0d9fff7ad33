"""A load generator that keeps a pace whatever the answers do, and measures latency.

A request that finds no free connection waits for one, and its wait counts: a slow answer may not
hide that others came due meanwhile.
"""

import argparse
import asyncio
import itertools
import json
import sys
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import cast

import uvloop

from perf.load.generator import STALL_SECONDS, is_whole
from perf.load.introduction import introduced

# libuv's timers have this resolution: that many requests are sent together.
_TICK_SECONDS = 0.001
_WARM_UP_SECONDS = 1.0
NO_ANSWER = "no answer"


class Pace:
    """Sends what is due over connections that are free."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = itertools.cycle(requests)
        self._waiting: deque[float] = deque()
        self.free: deque[Connection] = deque()
        self.latencies = array("d")
        self.stopping = False
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, count: int) -> None:
        """So many requests are due now."""
        self._waiting.extend([perf_counter()] * count)
        while self._waiting and self.free:
            self.free.popleft().ask(next(self._requests), self._waiting.popleft())

    def answered(self, connection: "Connection", latency: float) -> None:
        """An answer is complete, and its connection free."""
        self.latencies.append(latency)
        self.free.append(connection)
        self.send(0)

    def fail(self, text: str) -> None:
        if not self.fault.done() and not self.stopping:
            self.fault.set_exception(RuntimeError(text))


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    __slots__ = ("_due", "_pace", "_received", "_write")

    _write: Callable[[bytes], None]

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._received = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only behave like asyncio's.
        self._write = cast("asyncio.Transport", transport).write
        self._pace.free.append(self)

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self._write(request)

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        self._received += data
        try:
            if not is_whole(self._received):
                return
        except RuntimeError as error:
            self._pace.fail(str(error))
            return
        self._received = b""
        self._pace.answered(self, now - self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pace.fail(f"the proxy closed a connection ({exc})")


async def measure(
    port: int, requests: list[bytes], connections: int, rate: float, seconds: float
) -> dict[str, float]:
    """Latency at a pace, after each request was sent once in peace and some at that pace.

    Returns:
        ``requests`` that were measured; in milliseconds ``p50_ms``, ``p99_ms``, ``most_ms``.

    Raises:
        RuntimeError: an answer was not the expected one, or did not come.
    """
    await introduced(port, requests)
    pace = Pace(requests)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(pace), "127.0.0.1", port)
    await _kept(pace, rate, min(_WARM_UP_SECONDS, len(requests) / rate))
    del pace.latencies[:]
    await _kept(pace, rate, seconds)
    pace.stopping = True
    ordered = sorted(pace.latencies)
    return {
        "requests": len(ordered),
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1e3,
        "most_ms": ordered[-1] * 1e3,
    }


async def _kept(pace: Pace, rate: float, seconds: float) -> None:
    """Keeps the pace for a time, and waits for the last answers."""
    connections, sent, began = len(pace.free), 0, perf_counter()
    while (gone := perf_counter() - began) < seconds:
        due = int(gone * rate) - sent
        pace.send(due)
        sent += due
        await asyncio.wait([pace.fault], timeout=_TICK_SECONDS)
        if pace.fault.done():
            pace.fault.result()
    while len(pace.free) < connections:
        await asyncio.wait([pace.fault], timeout=_TICK_SECONDS)
        if pace.fault.done():
            pace.fault.result()
        if perf_counter() - began > seconds + STALL_SECONDS:
            raise RuntimeError(f"{NO_ANSWER} for {STALL_SECONDS:g} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("port", "connections"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("rate", "seconds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    given = parser.parse_args()
    requests = [text.encode() for text in json.loads(given.requests.read_text())]
    try:
        result = uvloop.run(
            measure(given.port, requests, given.connections, given.rate, given.seconds)
        )
    except (RuntimeError, OSError) as error:
        sys.exit(f"load generator: {error}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
