"""``python -m perf.footprint``: cold start with warming, and memory with many sessions.

Memory is that of private dirty pages (``/proc/<pid>/smaps_rollup``) over a plain aiohttp and uvloop
proxy that has served as well. Every session asks once through the whole proxy.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import uvloop
import yaml

from perf import machine
from perf.footprint.stores import KEY, SESSIONS, WARMED, make_favourites, populate, token
from perf.workload import PATH, PERMISSION
from sidecar.embedded import EmbeddedStack
from sidecar.settings.schema import Redis
from sidecar.store.migrate import migrate

STARTS = 5


def private_dirty(pid: int) -> float:
    """Megabytes (10^6) that nobody shares, and that were written."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("the kernel does not tell")


@contextmanager
def started(module: list[str], log: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The process, and what it said when it was ready."""
    child = subprocess.Popen(
        [sys.executable, "-m", *module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        line = child.stdout.readline()
        if not line:
            words = Path(log.name).read_text()[-2_000:]
            raise RuntimeError(f"{module[0]} did not start: {words}")
        yield child.pid, json.loads(line)
    finally:
        child.stdin.close()
        child.wait(30)
        child.stdout.close()


async def ask_all(url: str, requests: list[bytes]) -> None:
    """Each request once, on a few connections; all are permitted."""
    waiting, port = iter(requests), int(url.rpartition(":")[2])

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode("latin-1"))
            length = next(
                int(each.partition(b":")[2])
                for each in head.split(b"\r\n")
                if each.lower().startswith(b"content-length:")
            )
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(work() for _ in range(16)))


def configuration(folder: Path, dsn: str, redis_url: str, app: str, *, warming: bool) -> Path:
    path = folder / "sidecar.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "listen": {"address": "127.0.0.1:0"},
                "upstreams": {"app": {"url": app}},
                "stores": {
                    "postgres": {"dsn": dsn},
                    "redis": {"url": redis_url},
                    "load_seconds": 1.4,
                },
                "features": {"warming": warming},
                "credentials": {"token_key": KEY},
                "routes": [{"path": PATH, "methods": ["GET"], "permission": PERMISSION}],
                "audit": {"sink": "off"},
            }
        )
    )
    return path


def asking(number: int) -> bytes:
    return (
        f"GET {PATH} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token(number)}\r\n\r\n"
    ).encode()


@contextmanager
def application() -> Iterator[str]:
    """The cheap upstream; its URL."""
    child = subprocess.Popen([sys.executable, "-m", "perf.load.upstream"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
    finally:
        child.terminate()
        child.wait()
        child.stdout.close()


def baseline(app: str, log: IO[bytes]) -> float:
    """A plain proxy that has served."""
    with started(["perf.footprint.plain", app], log) as (pid, said):
        uvloop.run(ask_all(said["traffic"], [asking(0)] * 1000))
        return private_dirty(pid)


def remembered_users(admin: str) -> int:
    """How many users memory holds."""
    with urllib.request.urlopen(admin + "/metrics") as answer:  # noqa: S310  our own listener
        text: str = answer.read().decode()
    found = re.search(r'^sidecar_cache_entries{region="users"} (\S+)', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("it does not say how many users it knows")
    return int(float(found[1]))


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perf-")))
        folder.chmod(0o711)
        app = stack.enter_context(application())
        log = stack.enter_context((folder / "log").open("wb"))
        plain = baseline(app, log)
        stores = stack.enter_context(EmbeddedStack(folder / "stores", durable=False))
        asyncio.run(migrate(stores.database_url))
        populate(stores.database_url)
        asyncio.run(make_favourites(stores.database_url, Redis(url=stores.redis_url)))
        starts, warmed, known = [], 0.0, 0
        path = configuration(folder, stores.database_url, stores.redis_url, app, warming=True)
        command = ["perf.footprint.child", str(path)]
        for _ in range(STARTS):
            with started(command, log) as (pid, said):
                starts.append(round(said["ready"], 3))
                known = remembered_users(said["admin"])
                warmed = private_dirty(pid)
        configuration(folder, stores.database_url, stores.redis_url, app, warming=False)
        with started(command, log) as (pid, said):
            unwarmed, url = said["ready"], said["traffic"]
            uvloop.run(ask_all(url, [asking(0)]))
            one = private_dirty(pid)
            everybody = [asking(number) for number in range(SESSIONS)]
            uvloop.run(ask_all(url, everybody))
            first = private_dirty(pid)
            uvloop.run(ask_all(url, everybody))
            second = private_dirty(pid)
        print(f"{machine.described()}")
        print(f"ready after imports, {WARMED} users wanted: {sorted(starts)} s; {known} known then")
        print(f"ready after imports, without warming: {unwarmed:.3f} s")
        for name, megabytes in (
            ("plain aiohttp + uvloop proxy", plain),
            (f"sidecar, {WARMED} users warmed", warmed),
            ("sidecar, one session", one),
            (f"sidecar, {SESSIONS} sessions, each asked once", first),
            (f"sidecar, {SESSIONS} sessions, each asked twice", second),
        ):
            print(f"{name:45} {megabytes:7.1f} MB   {megabytes - plain:+7.1f}")


if __name__ == "__main__":
    main()
