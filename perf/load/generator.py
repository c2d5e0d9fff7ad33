"""A load generator: connections that send the next request when an answer has come.

They take turns where fewer requests are under way than there are connections.

Every answer is checked: status 200, framed by Content-Length, the expected body to the byte.
Anything else ends the run with an error. The CPU time of the proxy is read at both ends of the
measured time, here, where the answers are counted.
"""

import argparse
import asyncio
import itertools
import json
import random
import ssl
import sys
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import cast

import uvloop

from perf.load.doubts import Doubt, Doubter
from perf.load.introduction import introduced
from perf.machine import cpu_seconds
from perf.tls import client_context
from perf.workload import BODY, HOST

# A proxy that lost a request would otherwise be waited for without end.
STALL_SECONDS = 5.0
# Made at once; more would fill the queue of whoever accepts them.
_BATCH = 200
_STATUS = b"HTTP/1.1 200 "
_UNAVAILABLE = b"HTTP/1.1 503 "
# A machine that is busy enough keeps news from coming in time: that says nothing about the figure.
COME_AGAIN = "told to come again"
_LENGTH = b"\r\ncontent-length: %d\r\n" % len(BODY)
_END = b"\r\n\r\n"


def is_whole(received: bytes) -> bool:
    """Whether the expected answer has come, to its last byte.

    Raises:
        RuntimeError: it is another one.
    """
    end = received.find(_END)
    if end < 0:
        return False
    if received.startswith(_UNAVAILABLE):
        raise RuntimeError(f"{COME_AGAIN}: {received[:600]!r}")
    if not (received.startswith(_STATUS) and _LENGTH in received[: end + 2].lower()):
        raise RuntimeError(f"unexpected answer: {received[:600]!r}")
    if len(received) < end + 4 + len(BODY):
        return False
    if len(received) != end + 4 + len(BODY) or not received.endswith(BODY):
        raise RuntimeError(f"unexpected body: {received[:900]!r}")
    return True


class Run:
    """What all connections share: the requests in turn, the latencies, the first fault.

    Attributes:
        resting: connections that wait for their turn, longest first.
    """

    def __init__(self, requests: list[bytes]) -> None:
        self.requests = itertools.cycle(requests)
        self.resting: deque[Caller] = deque()
        self.latencies = array("d")
        self.answers = 0
        self.stopping = False
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, text: str) -> None:
        if not self.fault.done():
            self.fault.set_exception(RuntimeError(text))


class Caller(asyncio.Protocol):
    """One keep-alive connection."""

    __slots__ = ("_received", "_run", "_sent_at", "_write")

    _write: Callable[[bytes], None]

    def __init__(self, run: Run) -> None:
        self._run = run
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports only behave like asyncio's.
        self._write = cast("asyncio.Transport", transport).write
        self._run.resting.append(self)

    def send(self) -> None:
        """The next request."""
        self._sent_at = perf_counter()
        self._write(next(self._run.requests))

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        received = self._received = self._received + data if self._received else data
        try:
            if not is_whole(received):
                return
        except RuntimeError as error:
            self._run.fail(str(error))
            return
        self._received = b""
        run = self._run
        run.answers += 1
        run.latencies.append(now - self._sent_at)
        if not run.stopping:
            run.resting.append(self)
            run.resting.popleft().send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.stopping:
            self._run.fail(f"the proxy closed a connection ({exc}); got {self._received[:300]!r}")


async def measure(
    port: int,
    watched: dict[str, int],
    requests: list[bytes],
    connections: int,
    *,
    warm_up: float,
    seconds: float,
    at_once: int | None = None,
    doubts: Sequence[Doubt] = (),
    tls: ssl.SSLContext | None = None,
) -> dict[str, float]:
    """One round against one proxy.

    Args:
        port: of the proxy on 127.0.0.1.
        watched: name -> root of a tree of processes.
        requests: sent in turn.
        connections: all made, and shaken hands on, before the time that counts.
        warm_up: seconds before it.
        seconds: that count.
        at_once: requests under way; None is one for each connection.
        doubts: requests that are sent beside, and must be answered as they say.
        tls: of the connections; None is cleartext.

    Returns:
        ``requests``, ``seconds``; ``doubted``, what was sent beside and answered as it must be;
        ``cpu_seconds_<name>`` of each that is watched; in milliseconds ``p50_ms``, ``p99_ms``,
        ``most_ms``.

    Raises:
        RuntimeError: an answer was not the expected one, or a connection was lost.
    """
    run = Run(requests)
    await introduced(port, requests, tls)
    made = await _connected(run, port, connections, tls)
    for _ in range(connections if at_once is None else min(at_once, connections)):
        run.resting.popleft().send()
    await _pass(run, warm_up, at_least=len(requests))
    del run.latencies[:]
    # Short rounds do not get through all of them: begin anywhere.
    doubter = Doubter(port, list(doubts), tls, random.randrange(len(doubts) or 1))
    doubting = asyncio.create_task(doubter.run()) if doubts else None
    spent = {name: cpu_seconds(pid) for name, pid in watched.items()}
    answers, began = run.answers, perf_counter()
    await _pass(run, seconds)
    answers, lasted = run.answers - answers, perf_counter() - began
    spent = {name: cpu_seconds(pid) - spent[name] for name, pid in watched.items()}
    run.stopping = True
    if doubting is not None:
        await _ended(doubting, doubter.asked)
    for transport in made:
        transport.abort()
    ordered = sorted(run.latencies)
    return {
        "requests": answers,
        "seconds": lasted,
        "doubted": doubter.asked,
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1e3,
        "most_ms": ordered[-1] * 1e3,
        **{f"cpu_seconds_{name}": value for name, value in spent.items()},
    }


async def _ended(doubting: asyncio.Task[None], asked: int) -> None:
    """Ends what was sent beside.

    Raises:
        RuntimeError: a proxy let something through, refused what is sound, or said nothing.
    """
    if doubting.done():
        doubting.result()
    doubting.cancel()
    if not asked:
        raise RuntimeError("nothing that was sent beside the load was answered")


async def _connected(
    run: Run, port: int, connections: int, tls: ssl.SSLContext | None
) -> list[asyncio.Transport]:
    """Connections that rest."""
    loop, made = asyncio.get_running_loop(), []
    for begin in range(0, connections, _BATCH):
        made += await asyncio.gather(
            *(
                loop.create_connection(
                    lambda: Caller(run),
                    "127.0.0.1",
                    port,
                    ssl=tls,
                    server_hostname=HOST if tls else None,
                )
                for _ in range(min(_BATCH, connections - begin))
            )
        )
    return [transport for transport, _ in made]


async def _pass(run: Run, seconds: float, at_least: int = 0) -> None:
    """Lets time pass, and so many answers, unless there is a fault or nothing more comes."""
    goal = run.answers + at_least
    began = progress = perf_counter()
    while (now := perf_counter()) - began < seconds or run.answers < goal:
        before = run.answers
        left = seconds - (now - began)
        await asyncio.wait([run.fault], timeout=min(left, STALL_SECONDS) if left > 0 else 0.5)
        if run.fault.done():
            run.fault.result()
        if run.answers != before:
            progress = perf_counter()
        # A wait may be as short as what is left of the time: without an answer it says nothing.
        elif perf_counter() - progress > STALL_SECONDS:
            raise RuntimeError(f"no answer for {STALL_SECONDS:g} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("port", "pid", "connections"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("warm-up", "seconds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--at-once", type=int, help="requests under way")
    parser.add_argument("--doubts", type=Path, help="what is sent beside, and its answers")
    parser.add_argument("--service-pid", type=int, help="of what the proxy asks")
    parser.add_argument("--certificate", type=Path, help="speak TLS and believe this one")
    given = parser.parse_args()
    requests = [text.encode() for text in json.loads(given.requests.read_text())]
    watched = {"proxy": given.pid}
    if given.service_pid is not None:
        watched["service"] = given.service_pid
    try:
        result = uvloop.run(
            measure(
                given.port,
                watched,
                requests,
                given.connections,
                warm_up=given.warm_up,
                seconds=given.seconds,
                at_once=given.at_once,
                doubts=Doubt.read(given.doubts) if given.doubts else (),
                tls=client_context(given.certificate) if given.certificate else None,
            )
        )
    except (RuntimeError, OSError) as error:
        sys.exit(f"load generator: {error}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
