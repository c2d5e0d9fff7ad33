"""The sidecar as `sidecar run` serves, told apart: imports, then all until it is ready."""

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from sidecar.assembly.serving import running
from sidecar.settings.load import load


async def serve(path: Path) -> None:
    """Says when it is ready, and goes on until its input ends."""
    begun = time.perf_counter()
    async with running(load(path, environ=os.environ)) as (traffic, admin):
        ready = time.perf_counter() - begun
        # As `serve` does.
        gc.collect()
        gc.freeze()
        print(json.dumps({"ready": ready, "traffic": traffic, "admin": admin}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
