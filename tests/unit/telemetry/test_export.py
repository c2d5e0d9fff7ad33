"""The exporter beside a collector: what is counted, what is told, what is not waited for."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from sidecar.settings.schema import Tracing
from sidecar.telemetry import export
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.spans import Event, Kind, Link, Span
from tests.collector import Collector, collector

TRACE, ID, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, 7
SPAN = Span(
    "GET /x",
    Kind.CLIENT,
    TRACE,
    ID,
    PARENT,
    1_000_000_000,
    2_000_000_001,
    {"a": "text", "b": 2, "c": 0.5, "d": True, "e": ("x", "y")},
    error="500",
    events=[Event("sent", 1_500_000_000, {"f": 1})],
    links=[Link(9, 8, is_sampled=True, attributes={"g": "h"})],
    # Others were told that it is not recorded; it is, all the same.
    is_sampled=False,
)


@pytest.fixture
async def told() -> AsyncIterator[Collector]:
    async with collector() as made:
        yield made


def exporter(told: Collector, **more: object) -> Exporter:
    settings = {"endpoint": told.url, "flush_seconds": 0.01, **more}
    return Exporter(Tracing(**settings), "1.2.3")  # type: ignore[arg-type]  # names of settings


async def closed(made: Exporter, seconds: float = 5.0) -> bool:
    return await asyncio.to_thread(made.close, seconds)


async def test_a_span_arrives_as_it_was(told: Collector) -> None:
    made = exporter(told)
    made.add([SPAN])
    assert await closed(made)
    [seen] = told.spans
    assert (seen.name, seen.kind, seen.error) == ("GET /x", "client", "500")
    assert (int(seen.trace, 16), int(seen.id, 16), int(seen.parent, 16)) == (TRACE, ID, PARENT)
    assert (seen.begun_ns, seen.ended_ns) == (1_000_000_000, 2_000_000_001)
    assert seen.attributes == {"a": "text", "b": 2, "c": 0.5, "d": True, "e": ["x", "y"]}
    assert seen.events == [("sent", {"f": 1})]
    assert seen.links == [(f"{9:032x}", f"{8:016x}")]
    assert seen.resource["service.version"] == "1.2.3"
    assert made.counts["exported"] == 1


async def test_without_an_error_and_a_parent(told: Collector) -> None:
    made = exporter(told)
    made.add([Span("load facts", Kind.INTERNAL, 1, 2, 0, 3, 4, {})])
    assert await closed(made)
    [seen] = told.spans
    assert (seen.parent, seen.error) == ("", None)


async def test_what_comes_after_the_end_is_late(told: Collector) -> None:
    made = exporter(told)
    await closed(made)
    made.add([SPAN, SPAN])
    assert made.counts["late"] == 2
    assert told.spans == []


async def test_the_end_waits_no_longer_than_it_is_told(told: Collector) -> None:
    told.released.clear()
    made = exporter(told, timeout_seconds=3600.0)
    made.add([SPAN])
    async with asyncio.timeout(10):
        while not told.asked:
            await asyncio.sleep(0.01)
        made.add([SPAN, SPAN])
        assert not await closed(made, 0.05)
    # One is with the collector, who knows; the others never left.
    assert made.counts["late"] == 2


async def test_repetitions_end_with_the_process(told: Collector) -> None:
    """503 is tried again after a second, and so on; not after the end."""
    told.statuses[:] = [503] * 10
    made = exporter(told, timeout_seconds=3600.0)
    made.add([SPAN])
    async with asyncio.timeout(10):
        while not told.asked:
            await asyncio.sleep(0.01)
        await closed(made, 0.05)
        while not made.counts["failed"]:
            await asyncio.sleep(0.01)


async def test_a_full_queue_loses_what_comes_and_keeps_what_waits(told: Collector) -> None:
    made = exporter(told, queue=64, flush_seconds=60.0)
    for _ in range(65):
        made.add([SPAN])
    lost = made.counts["queue-full"]
    # The 64th woke the thread, which may have taken them before the next came.
    assert lost <= 1
    assert await closed(made)
    assert len(told.spans) == 65 - lost


async def test_losses_are_told_once_a_minute(
    told: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [100.0]
    monkeypatch.setattr(export, "stopwatch", lambda: clock[0])
    told.statuses[:] = [400] * 4
    made = exporter(told)
    with caplog.at_level(logging.WARNING, "sidecar"):
        for number in range(1, 5):
            made.add([SPAN])
            async with asyncio.timeout(10):
                while made.counts["failed"] < number:
                    await asyncio.sleep(0.005)
            clock[0] += 30.0
    lines = [record.getMessage() for record in caplog.records if record.name == export.__name__]
    assert lines == [
        "the collector lost 1 spans: status 400",
        "the collector lost 2 spans: status 400",
    ]
    await closed(made)


async def test_an_answer_that_drips_is_lost_in_time(told: Collector) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces"
    made = exporter(told, timeout_seconds=0.3)
    made.add([SPAN])
    async with asyncio.timeout(20):
        while not made.counts["failed"]:
            await asyncio.sleep(0.01)
    assert await closed(made)
    server.close()


async def test_an_endless_answer_is_not_read(told: Collector) -> None:
    """A server that is none: it sends octets for ever."""

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with_pauses = b"a" * 65_536
        try:
            while True:
                writer.write(with_pauses)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces"
    made = exporter(told)
    made.add([SPAN])
    async with asyncio.timeout(20):
        while not made.counts["exported"]:
            await asyncio.sleep(0.01)
    assert await closed(made)
    server.close()
