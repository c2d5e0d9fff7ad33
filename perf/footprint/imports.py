"""``python -m perf.footprint.imports``: time and resident memory of what is imported, by part.

Every row imports one more than the row above, each in a fresh process, several times; shown is the
fastest. CPU time, not time that passes: others may use the machine.
"""

import json
import subprocess
import sys
from typing import Final

from perf.report import columns

TIMES: Final = 5
# In the order in which they build on each other.
PARTS: Final = (
    ("Python alone", ()),
    ("asyncio, uvloop", ("asyncio", "uvloop")),
    ("aiohttp", ("aiohttp.web",)),
    ("httptools, msgspec, yaml", ("httptools", "msgspec", "yaml")),
    ("cryptography, joserfc", ("joserfc.jwt", "joserfc.jwk")),
    ("psycopg and its pool", ("psycopg", "psycopg_pool")),
    ("redis", ("redis.asyncio",)),
    ("Sidecar: settings", ("sidecar.settings.load",)),
    ("Sidecar: deciding", ("sidecar.decide", "sidecar.pipeline")),
    ("Sidecar: all that serves", ("sidecar.assembly.serving",)),
)
_CODE: Final = """\
import json, sys, time
begun = time.process_time()
for name in json.loads(sys.argv[1]):
    __import__(name)
taken = time.process_time() - begun
pages = int(open("/proc/self/statm").read().split()[1])
print(json.dumps([taken, pages, len(sys.modules)]))
"""
_PAGE_BYTES: Final = 4096


def imported(names: list[str]) -> tuple[float, float, int]:
    """Milliseconds of CPU, megabytes resident, modules."""
    command = [sys.executable, "-c", _CODE, json.dumps(names)]
    taken = [
        json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        for _ in range(TIMES)
    ]
    seconds, pages, modules = (min(column) for column in zip(*taken, strict=True))
    return seconds * 1e3, pages * _PAGE_BYTES / 1e6, modules


def main() -> None:
    rows = [["imported so far", "CPU ms", "more", "MB resident", "more", "modules"]]
    names: list[str] = []
    before = (0.0, 0.0)
    for part, more in PARTS:
        names += more
        milliseconds, megabytes, modules = imported(names)
        rows.append(
            [
                part,
                f"{milliseconds:.0f}",
                f"{milliseconds - before[0]:+.0f}",
                f"{megabytes:.1f}",
                f"{megabytes - before[1]:+.1f}",
                str(modules),
            ]
        )
        before = (milliseconds, megabytes)
    print(columns(rows))


if __name__ == "__main__":
    main()
