"""``python -m perf.connections``: memory of idle connections, plain and over TLS.

The whole sidecar as `sidecar run` starts it, without stores (its one route is public). Each client
connects, asks once, is answered, and waits. What is counted are private dirty pages of the sidecar
(``/proc/<pid>/smaps_rollup``), after a first few hundred connections have warmed its allocator;
what the kernel keeps for a socket is not in them.
"""

import argparse
import asyncio
import json
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf import machine
from perf.tls import client_context, self_signed

REQUEST = b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n"
WARMED = 300


def private_dirty(pid: int) -> int:
    """Bytes that are this process's alone."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such line")


@contextmanager
def sidecar(folder: Path, tls: tuple[Path, Path] | None) -> Iterator[tuple[int, int]]:
    """Its pid and port."""
    port = machine.free_port()
    listen: dict[str, object] = {"address": f"127.0.0.1:{port}"}
    listen["limits"] = {"connections": 20_000}
    if tls is not None:
        listen["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    settings = {
        "listen": listen,
        "upstreams": {"app": {"url": "http://127.0.0.1:1"}},
        "stores": {"postgres": {"dsn": "postgresql://127.0.0.1:1/none"}},
        "credentials": {"token_key": "not a secret: it is for a benchmark"},
        "routes": [{"path": "/", "access": "public"}],
        "audit": {"sink": "off"},
    }
    path = folder / "sidecar.yaml"
    path.write_text(json.dumps(settings))
    child = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "run", "--config", str(path)], stderr=subprocess.DEVNULL
    )
    try:
        yield child.pid, port
    finally:
        child.terminate()
        child.wait()


async def connect(
    port: int, count: int, context: ssl.SSLContext | None
) -> list[asyncio.StreamWriter]:
    """So many clients that were answered once."""
    name = "localhost" if context else None
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        writers.append(writer)
    return writers


async def until_open(port: int) -> None:
    """Until somebody listens there."""
    deadline = time.monotonic() + 20
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


async def measure(pid: int, port: int, count: int, context: ssl.SSLContext | None) -> float:
    """Bytes for each connection."""
    await until_open(port)
    writers = await connect(port, WARMED, context)
    before = private_dirty(pid)
    writers += await connect(port, count, context)
    taken = private_dirty(pid) - before
    for writer in writers:
        writer.transport.abort()
    return taken / count


def main() -> None:
    """Measure both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="connections (3000)")
    count = parser.parse_args().count
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1000), hard))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = self_signed(folder, "localhost")
        context = client_context(pair[0])
        for kind, files, client in (("plain", None, None), ("TLS", pair, context)):
            with sidecar(folder, files) as (pid, port):
                taken = asyncio.run(measure(pid, port, count, client))
            print(f"{kind}: {taken / 1000:.1f} KB for each of {count} idle connections")


if __name__ == "__main__":
    main()
