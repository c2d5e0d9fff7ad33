"""What TLS costs a server for a request and its answer: our transport beside uvloop's, and none.

Run: ``python -m perf.micro.tls``. One server in this process, its clients in another; CPU of this
process. Prints microseconds for each; nothing is asserted.
"""

import asyncio
import multiprocessing
import resource
import socket
import ssl
import statistics
import tempfile
from pathlib import Path
from typing import cast

import uvloop

from sidecar.forward.tls import listener_files
from sidecar.forward.tls_transport import accept_tls
from sidecar.settings.schema import Tls
from tests.certificates import Authority

_ROUNDS = 5
_ANSWERS = 20_000
_WARM = 2_000
_CONNECTIONS = 64
_REQUEST = b"GET /api HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"t" * 700 + b"\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + b"x" * 300


class _Count:
    def __init__(self) -> None:
        self.answers = 0
        self.began = 0.0
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def one(self) -> None:
        self.answers += 1
        if self.answers == _WARM:
            self.began = _cpu()
        elif self.answers == _WARM + _ANSWERS:
            self.done.set_result((_cpu() - self.began) / _ANSWERS * 1e6)


class _Server(asyncio.Protocol):
    def __init__(self, count: _Count) -> None:
        self._count = count
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are none by inheritance.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio's signature
        if self._transport is not None:
            self._transport.write(_ANSWER)
        self._count.one()


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._got = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are none by inheritance.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        self._got += len(data)
        if self._got >= len(_ANSWER) and self._transport is not None:
            self._got -= len(_ANSWER)
            self._transport.write(_REQUEST)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _ask(port: int, authority: bytes, *, is_tls: bool) -> None:
    async def forever() -> None:
        context = ssl.create_default_context(cadata=authority.decode()) if is_tls else None
        for _ in range(_CONNECTIONS):
            await asyncio.get_running_loop().create_connection(
                _Client, "127.0.0.1", port, ssl=context
            )
        await asyncio.Event().wait()

    uvloop.run(forever())


async def _measured(kind: str, context: ssl.SSLContext, authority: bytes) -> float:
    loop = asyncio.get_running_loop()
    count = _Count()
    listener = socket.create_server(("127.0.0.1", 0), backlog=_CONNECTIONS)
    listener.setblocking(False)

    async def accept() -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            if kind == "ours":
                await accept_tls(sock, context, lambda: _Server(count), shutdown_seconds=1.0)
            else:
                tls = context if kind == "uvloop's" else None
                await loop.connect_accepted_socket(lambda: _Server(count), sock, ssl=tls)

    accepting = loop.create_task(accept())
    client = multiprocessing.get_context("spawn").Process(
        target=_ask,
        args=(listener.getsockname()[1], authority),
        kwargs={"is_tls": kind != "none"},
        daemon=True,
    )
    client.start()
    try:
        return await count.done
    finally:
        client.kill()
        client.join()
        accepting.cancel()
        listener.close()


def main() -> None:
    """Measure, in turns, and print."""
    authority = Authority()
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = authority.server().write(Path(folder), "server")
        context = listener_files(Tls(certificate=certificate, key=key)).material.context
        found: dict[str, list[float]] = {"none": [], "ours": [], "uvloop's": []}
        for _ in range(_ROUNDS):
            for kind, figures in found.items():
                figures.append(uvloop.run(_measured(kind, context, authority.pem)))
        for kind, figures in found.items():
            low, high = min(figures), max(figures)
            print(f"{kind:10} {statistics.median(figures):5.1f} µs ({low:.1f}-{high:.1f})")


if __name__ == "__main__":
    main()
