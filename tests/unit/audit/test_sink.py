"""Audit records: what they hold, and that a slow sink never holds a request."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from sidecar.audit import sink as sink_module
from sidecar.audit.record import Record
from sidecar.audit.sink import AuditSink, open_sink


def record(number: int = 0) -> Record:
    return Record(
        time=1.0,
        request_id=f"r{number}",
        outcome="deny",
        reason="not-granted",
        status=403,
        method="GET",
        path="/a\nforged",
        host="h",
        client="127.0.0.1",
        milliseconds=0.1,
    )


async def test_records_are_written_one_a_line() -> None:
    written: list[bytes] = []
    sink = AuditSink(written.append, 0.01)
    sink.start()
    sink.add(record(1))
    sink.add(record(2))
    await sink.close()
    lines = b"".join(written).decode().splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == ["r1", "r2"]
    assert json.loads(lines[0])["path"] == "/a\nforged", "and no line can be forged"


async def test_records_are_written_without_being_asked() -> None:
    arrived = threading.Event()
    sink = AuditSink(lambda _: arrived.set(), 0.01)
    sink.start()
    sink.add(record())
    assert await asyncio.to_thread(arrived.wait, 5)
    await sink.close()


async def test_what_a_stuck_sink_cannot_take_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "_MOST_WAITING", 3)
    release = threading.Event()
    entered = threading.Event()

    def stuck(_: bytes) -> None:
        entered.set()
        release.wait(5)

    sink = AuditSink(stuck, 0.0)
    sink.start()
    sink.add(record())
    assert await asyncio.to_thread(entered.wait, 5)
    for number in range(5):
        sink.add(record(number))
    assert sink.dropped == 2
    release.set()
    await sink.close()


async def test_closing_waits_for_the_write_under_way() -> None:
    entered, written = threading.Event(), threading.Event()

    def slow(_: bytes) -> None:
        entered.set()
        threading.Event().wait(0.05)
        written.set()

    sink = AuditSink(slow, 0.0)
    sink.start()
    sink.add(record())
    assert await asyncio.to_thread(entered.wait, 5)
    await sink.close()
    assert written.is_set()


async def test_a_sink_that_fails_loses_records_but_not_requests(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: bytes) -> None:
        raise OSError("disk full")

    sink = AuditSink(broken, 3600.0)
    sink.add(record())
    await sink.close()
    assert sink.dropped == 1
    assert "disk full" in caplog.text


async def test_a_file(tmp_path: Path) -> None:
    target = tmp_path / "audit.jsonl"
    sink = open_sink(f"file:{target}", 3600.0)
    assert sink is not None
    sink.add(record())
    await sink.close()
    assert json.loads(target.read_text())["status"] == 403
    assert target.stat().st_mode & 0o777 == 0o600


async def test_standard_streams(capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled():
        pass
    for name in ("stdout", "stderr"):
        sink = open_sink(name, 3600.0)
        assert sink is not None
        sink.add(record())
        await sink.close()


def test_off_is_no_sink() -> None:
    assert open_sink("off", 1.0) is None
