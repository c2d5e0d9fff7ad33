"""A thousand users at once, HTTP and WebSockets: no answer is wrong, and memory stays flat."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from perf.load.varied import FEED
from perf.machine import cpu_seconds, resident_bytes
from perf.peers import sidecar
from perf.peers.peer import Site
from perf.rounds import upstream
from perf.scenarios.found import Found
from perf.workload import PERMISSION

# Into the time after all have connected, at which memory is read.
_SHARES = (0.25, 0.5, 1.0)
_ROUTE = {
    "path": FEED,
    "permission": PERMISSION,
    "websocket": {
        "messages": {
            "protocol": "json",
            "id_pointer": "/id",
            "error": '{"type": "error", "re": "{id}", "code": "{code}"}',
            "rules": [
                {"type": "orders.read", "permission": PERMISSION},
                {"type": "orders.cancel", "permission": "orders:cancel"},
            ],
        }
    },
}


def run(site: Site, tell: Callable[[str], None], seconds: float = 30.0) -> Found:
    """Users before Sidecar for so long.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    tokens = site.folder / "tokens.json"
    tokens.write_text(json.dumps([site.workload.outsider, *site.workload.tokens]))
    with upstream("perf.load.varied") as port:
        site = Site(site.folder, port, site.workload)
        with sidecar.configured(site, sidecar.NAME, routes=[_ROUTE]) as peer:
            command = [sys.executable, "-m", "perf.load.users", "--port", str(peer.port)]
            command += ["--seconds", str(seconds), "--tokens", str(tokens)]
            before = cpu_seconds(peer.pid)
            resident, told = _watched(command, peer.pid, seconds)
            spent = cpu_seconds(peer.pid) - before
    growth = resident[-1] / resident[0]
    shown = " -> ".join(f"{each / 2**20:.1f}" for each in resident)
    tell(
        f"{told['users']} users for {seconds:g} s: {told['requests']} answers, none wrong"
        f" (told to come again: {told['told_to_come_again'] or 'nobody'}),"
        f" p50 {told['p50_ms']:.1f} ms, p99 {told['p99_ms']:.1f} ms, MiB resident {shown}"
    )
    details = {"seconds": seconds, "resident_bytes": resident, "cpu_seconds": spent, **told}
    return Found({"users: memory at the end by that at a quarter": growth}, details)


def _watched(command: list[str], pid: int, seconds: float) -> tuple[list[int], Mapping[str, Any]]:
    """Resident bytes of the proxy at the shares of the time; what the users told.

    Raises:
        RuntimeError: an answer was not the expected one.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            ready, began, resident = child.stdout.readline(), time.monotonic(), []
            for share in _SHARES if ready else ():
                # The last before the users leave.
                time.sleep(max(0.0, began + seconds * share - 0.1 - time.monotonic()))
                resident.append(resident_bytes(pid))
            output, errors = child.communicate()
        finally:
            child.kill()
    if child.returncode:
        raise RuntimeError(errors.strip()[-2_000:])
    told: dict[str, Any] = json.loads(output)
    return resident, told
