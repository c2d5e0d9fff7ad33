"""Requests that must be refused, sent in the middle of the load over a connection that is kept.

A proxy could check well when it is probed and less when it is busy, or believe what it has seen
before on the same connection: between two requests that are refused there is always a sound one.
"""

import asyncio
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from perf.load.introduction import WithoutLengthError, status_of
from perf.workload import HOST

# Twenty requests a second of some ten thousand.
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Doubt:
    """A request, and what it may be answered with."""

    why: str
    request: bytes
    expected: frozenset[int]

    def as_dict(self) -> dict[str, object]:
        """For a file."""
        return {
            "why": self.why,
            "request": self.request.decode(),
            "expected": sorted(self.expected),
        }

    @classmethod
    def read(cls, path: Path) -> list[Self]:
        """Out of a file."""
        return [
            cls(each["why"], each["request"].encode(), frozenset(each["expected"]))
            for each in json.loads(path.read_text())
        ]


class Doubter:
    """Sends them in turn until it is cancelled.

    Attributes:
        asked: how many were answered as they must be.
        connections: how many it took; a proxy may close after a refusal.
    """

    def __init__(
        self, port: int, doubts: list[Doubt], tls: ssl.SSLContext | None, first: int = 0
    ) -> None:
        self._port = port
        self._doubts = doubts
        self._tls = tls
        self._first = first
        self.asked = 0
        self.connections = 0

    async def run(self) -> None:
        """Never returns.

        Raises:
            RuntimeError: something was let through, or a sound request refused.
        """
        while True:
            await self._over_one_connection()

    async def _over_one_connection(self) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._tls, server_hostname=HOST if self._tls else None
        )
        self.connections += 1
        try:
            while True:
                doubt = self._doubts[(self._first + self.asked) % len(self._doubts)]
                writer.write(doubt.request)
                is_over = False
                try:
                    status = await status_of(reader)
                except WithoutLengthError as answer:
                    status, is_over = answer.status, True
                if status not in doubt.expected:
                    wanted = " or ".join(str(each) for each in sorted(doubt.expected))
                    raise RuntimeError(f"answered {status} to {doubt.why} under load, not {wanted}")
                self.asked += 1
                if is_over:
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
        except ConnectionResetError:
            # It told so before (Connection: close), or had enough.
            return
        finally:
            writer.transport.abort()
