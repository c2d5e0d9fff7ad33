"""Several workers on one listening socket, and one process that speaks for all to operators.

The supervisor opens the sockets and forks; the modules are loaded before, so that workers share
what they do not change. Each worker is a whole sidecar, with memory, pools and a member id of its
own (SYNC.md R7); its admin listener is a unix socket that only the companion asks.
"""

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from sidecar.assembly.board import Board
from sidecar.assembly.listening import Part, beating, stop_with_supervisor, url_of
from sidecar.assembly.log import begin_log
from sidecar.assembly.serving import serve
from sidecar.assembly.supervising import Forked, Supervisor
from sidecar.assembly.tracing import preload
from sidecar.endpoints.fleet import FleetEndpoints
from sidecar.listen.operators import OperatorSite, runner_of
from sidecar.listen.sockets import open_listeners
from sidecar.settings.address import parse_address
from sidecar.settings.schema import Root
from sidecar.telemetry import names

_LOG: Final = logging.getLogger("sidecar")
_ADMIN_BACKLOG: Final = 16


@dataclass(frozen=True, slots=True)
class _Crew:
    """What all processes are given.

    Attributes:
        root: the settings.
        board: a place for each worker, and the last for the companion.
        traffic: the sockets of clients.
        admin: the sockets of operators.
        folder: where workers' admin sockets are.
        lifeline: read end of a pipe that ends with the supervisor.
        held: its other end, which only the supervisor keeps.
    """

    root: Root
    board: Board
    traffic: Sequence[socket.socket]
    admin: Sequence[socket.socket]
    folder: Path
    lifeline: int
    held: int

    @property
    def sockets(self) -> dict[str, str]:
        """Path of the admin socket by name of the worker."""
        return {
            str(place): str(self.folder / f"worker-{place}.sock")
            for place in range(self.board.places - 1)
        }


def serve_with_workers(root: Root) -> int:
    """Serve with `root.listen.workers` processes until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean end; 1 when a listener could not be opened, a worker could
        not start, or one did not end well; 143 or 130 when SIGTERM or SIGINT came twice.
    """
    begin_log()
    preload(root)
    try:
        crew = _open(root)
    except OSError as error:
        _LOG.error("cannot listen: %s", error.strerror or error)
        return 1
    where = url_of(crew.traffic[0], is_tls=root.listen.tls is not None)
    admin = url_of(crew.admin[0], is_tls=False)
    _LOG.info("%d workers: traffic at %s, admin at %s", root.listen.workers, where, admin)
    # What exists now is shared by all, as long as nobody writes to it.
    gc.collect()
    gc.freeze()
    outcome = Supervisor(
        crew.board,
        hung_seconds=root.listen.worker_hung_seconds,
        drain_seconds=_leaving_seconds(root),
        ending=partial(_close, crew.traffic),
    ).run()
    if isinstance(outcome, Forked):
        os.close(crew.held)
        return _work(crew, outcome.place)
    shutil.rmtree(crew.folder, ignore_errors=True)
    return outcome


def _open(root: Root) -> _Crew:
    traffic = open_listeners(parse_address(root.listen.address), root.listen.backlog)
    admin = open_listeners(parse_address(root.admin.address), _ADMIN_BACKLOG)
    lifeline, held = os.pipe()
    # Nobody else can enter it (mode 0700).
    folder = Path(tempfile.mkdtemp(prefix="sidecar-"))
    board = Board(root.listen.workers + 1)
    return _Crew(root, board, traffic, admin, folder, lifeline, held)


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _work(crew: _Crew, place: int) -> int:
    """Be the process at `place`."""
    beat = partial(_beat, crew.board, place)
    if place == crew.board.places - 1:
        _close(crew.traffic)
        begin_log("admin listener")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_administer(crew, place))
        return 0
    _close(crew.admin)
    begin_log(f"worker {place}")
    address = f"unix:{crew.sockets[str(place)]}"
    replace = msgspec.structs.replace
    root = replace(crew.root, admin=replace(crew.root.admin, address=address))
    part = Part(
        listeners=crew.traffic,
        has_siblings=crew.board.places > 2,
        lifeline=crew.lifeline,
        beat=beat,
        beat_seconds=_beat_seconds(root),
    )
    return serve(root, ready=lambda *_: crew.board.tell_ready(place), part=part)


def _beat(board: Board, place: int) -> None:
    board.beat(place, time.monotonic())


def _leaving_seconds(root: Root) -> float:
    """What a worker takes to end, at most: the delay comes twice (`listen.leaving`)."""
    deadlines = root.listen.deadlines
    return 2 * deadlines.drain_delay_seconds + deadlines.drain_seconds


def _beat_seconds(root: Root) -> float:
    return root.listen.worker_hung_seconds / 8


async def _administer(crew: _Crew, place: int) -> None:
    """Answer operators for all workers, until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Ctrl-C reaches the whole group; this one goes after the workers.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    stop_with_supervisor(crew.lifeline, stop)
    endpoints = FleetEndpoints(crew.sockets, partial(_starts, crew.board))
    runner = runner_of(endpoints.application())
    await runner.setup()
    try:
        for listener in crew.admin:
            await OperatorSite(runner, listener, crew.root.admin.connections).start()
        crew.board.tell_ready(place)
        async with beating(partial(_beat, crew.board, place), _beat_seconds(crew.root)):
            await stop.wait()
    finally:
        await runner.cleanup()


def _starts(board: Board) -> str:
    """What is counted of the processes themselves."""
    metric = names.WORKER_STARTS
    lines = [f"# HELP {metric.name}_total {metric.help}", f"# TYPE {metric.name}_total counter"]
    lines += [
        f'{metric.name}_total{{worker="{place}"}} {board.starts_of(place)}'
        for place in range(board.places - 1)
    ]
    return "".join(line + "\n" for line in lines)
