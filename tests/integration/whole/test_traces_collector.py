"""A collector of OpenTelemetry's own takes what is exported, where one is named."""

import asyncio
import os
from pathlib import Path

import pytest
import yaml

from sidecar.embedded.spawn import free_port
from sidecar.telemetry import names
from tests.integration.whole.conftest import Start
from tests.integration.whole.test_traces import GIVEN, TRACE, application

PROGRAM = os.environ.get("SIDECAR_TEST_COLLECTOR", "")
pytestmark = pytest.mark.skipif(not PROGRAM, reason="SIDECAR_TEST_COLLECTOR names no collector")


async def until(stderr: asyncio.StreamReader, words: str) -> str:
    """What it told, up to the line with `words`."""
    told = ""
    async with asyncio.timeout(60):
        while words not in told:
            line = await stderr.readline()
            assert line, told
            told += line.decode()
    return told


async def test_spans_are_taken(start: Start, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "collector.yaml"
    document = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"debug": {"verbosity": "detailed"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
        },
    }
    config.write_text(yaml.safe_dump(document))
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "--config", f"file:{config}", stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    tracing = {
        "endpoint": f"http://127.0.0.1:{port}/v1/traces",
        "ratio": 1.0,
        "flush_seconds": 0.02,
    }
    try:
        await until(process.stderr, "Everything is ready")
        async with (
            application() as app,
            start(upstreams={"app": {"url": app.url}}, tracing=tracing) as whole,
        ):
            status, _ = await whole.ask("bob", "GET", "/api/orders", headers={"Traceparent": GIVEN})
            assert status == 200
            told = await until(process.stderr, names.LOAD_SPAN)
        assert TRACE in told
        assert "GET /api/orders" in told
    finally:
        process.terminate()
        await process.wait()
