"""What following frames costs for each message, against reading them as aiohttp does (in C).

Run: ``python -m perf.micro.frames``. Prints microseconds; nothing is asserted.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.base_protocol import BaseProtocol

from sidecar.relay.closing import TEXT, frame
from sidecar.relay.frames import Frames
from sidecar.relay.joining import Joiner

_ROUNDS = 5
_MESSAGES = 50_000


def _watching(messages: list[bytes]) -> Callable[[], Any]:
    def run() -> None:
        frames = Frames(is_masked=True, compresses=False, frame_bytes=2**24, message_bytes=2**24)
        feed = frames.feed
        for octets in messages:
            feed(octets)

    return run


def _joining(messages: list[bytes]) -> Callable[[], Any]:
    def run() -> None:
        frames = Frames(is_masked=True, compresses=False, frame_bytes=2**24, message_bytes=2**24)
        feed = Joiner(frames).feed
        for octets in messages:
            feed(octets)

    return run


def _reading(messages: list[bytes], loop: asyncio.AbstractEventLoop) -> Callable[[], Any]:
    def run() -> None:
        protocol = BaseProtocol(loop)
        queue = WebSocketDataQueue(protocol, 2**30, loop=loop)
        feed = WebSocketReader(queue, 2**24, False, True).feed_data
        for octets in messages:
            feed(octets)

    return run


def _microseconds(run: Callable[[], Any], messages: int) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.process_time()
        run()
        best = min(best, time.process_time() - begun)
    return best / messages * 1e6


def main() -> None:
    loop = asyncio.new_event_loop()
    print(f"{'payload':>10} {'followed':>9} {'joined':>9} {'aiohttp':>9}   us for each message")
    for size in (16, 100, 500, 10_000, 100_000):
        count = max(200, min(_MESSAGES, 200_000_000 // (size + 1000)))
        octets = frame(TEXT, b"x" * size, os.urandom(4))
        messages = [octets] * count
        row = [
            _microseconds(each, count)
            for each in (_watching(messages), _joining(messages), _reading(messages, loop))
        ]
        print(f"{size:>10}" + "".join(f"{each:>10.2f}" for each in row))
    # Several in one read, as they come from a busy peer.
    ten = frame(TEXT, b"x" * 100, os.urandom(4)) * 10
    messages = [ten] * 5000
    row = [
        _microseconds(each, 50_000)
        for each in (_watching(messages), _joining(messages), _reading(messages, loop))
    ]
    print(f"{'10 x 100':>10}" + "".join(f"{each:>10.2f}" for each in row))
    loop.close()


if __name__ == "__main__":
    main()
