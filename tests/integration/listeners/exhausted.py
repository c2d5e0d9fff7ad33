"""A data plane in a process that may open few files; ended by the end of its input.

Prints its port, and for each line of input one line of JSON about itself.
"""

import asyncio
import json
import resource
import sys
import time

import uvloop

from sidecar.listen.descriptors import ceiling
from sidecar.settings.schema import Limits, Listen
from tests.plane import ANY, running_plane


async def main(url: str, files: int, *, keeps_reserve: bool) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    loop = asyncio.get_running_loop()
    async with running_plane(url, listen=Listen(limits=Limits(connections=9_999))) as plane:
        if keeps_reserve:
            plane.server.most_connections = ceiling(9_999, 256)
        print(plane.port, flush=True)  # noqa: T201 - for the test
        while await loop.run_in_executor(None, sys.stdin.readline):
            counted = {
                "open": plane.server.open_connections,
                "refused": plane.acceptor.refused + plane.server.refused_connections,
                "pauses": plane.acceptor.pauses,
                "cpu": time.process_time(),
            }
            print(json.dumps(counted), flush=True)  # noqa: T201 - for the test


if __name__ == "__main__":
    assert ANY
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), keeps_reserve=sys.argv[3] == "reserve"))
