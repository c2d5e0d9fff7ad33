"""Bodies from nothing to 16 MB, in both directions, beside nginx that does not buffer them."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from perf.growth.grown import Growth, Lines
from perf.growth.plane import Plane
from perf.growth.sized import Run
from perf.load.streams import LARGEST
from perf.machine import free_port
from perf.peers import nginx
from perf.peers.peer import AbsentError
from perf.rounds import patiently, told, upstream

SIZES = (0, 1_000, 64_000, 1_000_000, LARGEST)
_WARM_UP_SECONDS = 0.3

_NGINX = """\
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    client_max_body_size 0;
    location / {{
{forwarding}
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
"""


def bodies(plane: Plane, run: Run) -> list[Growth]:
    """CPU for a request and megabytes a second, by direction."""
    cost: Lines = {}
    speed: Lines = {}
    with ExitStack() as stack:
        plane = plane.before(stack.enter_context(upstream("perf.load.streams")))
        ours = stack.enter_context(plane.sidecar("bodies"))
        proxies = {"sidecar": (ours.port, ours.pid)}
        try:
            proxies["nginx"] = stack.enter_context(_nginx(plane))
        except AbsentError as absent:
            run.tell(f"nginx is left out: {absent}")
        cases = [
            (name, direction, size)
            for size in SIZES
            for direction in ("down", "up")
            for name in proxies
        ]
        for number in range(run.rounds):
            turn = number % len(cases)
            for name, direction, size in cases[turn:] + cases[:turn]:
                port, pid = proxies[name]
                command = [sys.executable, "-m", "perf.load.streams", "--direction", direction]
                command += ["--port", str(port), "--pid", str(pid), "--size", str(size)]
                command += ["--warm-up", str(_WARM_UP_SECONDS), "--seconds", str(run.seconds)]
                measure = partial(told, [*command, "--token", run.workload.tokens[0]], name)
                given = patiently(name, measure, run.tell)
                line = f"{name} {direction}"
                cpu_us = given["cpu_seconds"] / given["requests"] * 1e6
                megabytes = given["requests"] * size / given["seconds"] / 1e6
                run.tell(
                    f"round {number + 1}/{run.rounds}  {line:12} {size:8}"
                    f" {cpu_us:9.1f} µs CPU/request {megabytes:7.0f} MB/s"
                )
                cost.setdefault(line, {}).setdefault(size, []).append(cpu_us)
                if size:
                    speed.setdefault(line, {}).setdefault(size, []).append(megabytes)
    return [
        Growth(
            "Bodies", "bytes", "CPU µs/request", _sorted(cost), is_relative=False, is_steep=True
        ),
        Growth("Bodies' speed", "bytes", "MB/s", _sorted(speed), is_relative=False, is_steep=True),
    ]


def _sorted(lines: Lines) -> Lines:
    return {line: dict(sorted(lines[line].items())) for line in sorted(lines, reverse=True)}


@contextmanager
def _nginx(plane: Plane) -> Iterator[tuple[int, int]]:
    """Its port and pid."""
    port = free_port()
    servers = nginx.APPLICATION.format(upstream=plane.upstream)
    servers += _NGINX.format(port=port, forwarding=nginx.FORWARDING)
    with nginx.served(plane.folder / "nginx-bodies", servers, port) as pid:
        yield port, pid
