"""The last resort: what it tells, and when it does nothing."""

import asyncio
import logging
import socket
import threading

import pytest

from sidecar.assembly.watchdog import EXIT_CODE, Watchdog


class End:
    """Takes the place of `os._exit`."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.came = threading.Event()

    def __call__(self, code: int) -> None:
        self.codes.append(code)
        self.came.set()


async def _watchdogs_are_gone() -> None:
    async with asyncio.timeout(10):
        while any(thread.name == "watchdog" for thread in threading.enumerate()):
            await asyncio.sleep(0.001)


async def test_what_is_open_at_the_deadline_is_told(caplog: pytest.LogCaptureFixture) -> None:
    end, over = End(), threading.Event()
    waits = asyncio.create_task(asyncio.Event().wait(), name="waits for ever")
    thread = threading.Thread(target=over.wait, name="also for ever")
    thread.start()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), caplog.at_level(logging.ERROR):
            Watchdog(asyncio.get_running_loop(), end).arm(0.0)
            await asyncio.to_thread(end.came.wait, 10)
    waits.cancel()
    over.set()
    thread.join()
    assert end.codes == [EXIT_CODE]
    [record] = caplog.records
    told = record.getMessage()
    assert told.startswith("still here 0 s after the end began; open are: ")
    assert "task waits for ever" in told
    assert "thread also for ever" in told
    assert f"connection to 127.0.0.1:{port}" in told


async def test_there_is_a_bound_on_what_is_told(caplog: pytest.LogCaptureFixture) -> None:
    end = End()
    tasks = [asyncio.create_task(asyncio.Event().wait(), name=f"w{each:02}") for each in range(50)]
    with caplog.at_level(logging.ERROR):
        Watchdog(asyncio.get_running_loop(), end).arm(0.0)
        await asyncio.to_thread(end.came.wait, 10)
    for task in tasks:
        task.cancel()
    told = caplog.records[0].getMessage()
    assert told.count(";") == 21
    assert "; and " in told
    assert told.endswith(" more")


async def test_it_does_nothing_once_all_has_ended() -> None:
    end = End()
    watchdog = Watchdog(asyncio.get_running_loop(), end)
    watchdog.arm(3600.0)
    watchdog.disarm()
    watchdog.arm(0.0)
    await _watchdogs_are_gone()
    assert end.codes == []


async def test_the_earliest_deadline_counts() -> None:
    end = End()
    watchdog = Watchdog(asyncio.get_running_loop(), end)
    watchdog.arm(3600.0)
    watchdog.arm(0.0)
    await asyncio.to_thread(end.came.wait, 10)
    assert end.codes == [EXIT_CODE]
    watchdog.disarm()
    await _watchdogs_are_gone()


async def test_it_ends_even_if_it_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    end = End()

    def broken(_: object) -> str:
        raise RuntimeError("broken")

    monkeypatch.setattr(Watchdog, "_open", broken)
    Watchdog(asyncio.get_running_loop(), end).arm(0.0)
    await asyncio.to_thread(end.came.wait, 10)
    assert end.codes == [EXIT_CODE]
