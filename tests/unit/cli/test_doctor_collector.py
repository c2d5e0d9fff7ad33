"""The collector of traces, as `sidecar doctor` finds it."""

from pathlib import Path

import pytest

from sidecar.cli.doctor_collector import look_at_collector
from sidecar.cli.doctor_findings import State
from sidecar.settings.schema import Tracing
from tests.collector import collector


async def test_nothing_is_asked_where_nothing_is_traced() -> None:
    assert await look_at_collector(Tracing()) == []


async def test_one_that_takes_spans() -> None:
    async with collector() as told:
        tracing = Tracing(endpoint=told.url, headers={"Authorization": "Bearer abc"})
        [found] = await look_at_collector(tracing)
        assert (found.state, found.message) == (
            State.OK, f"the collector at {told.url} takes spans",
        )  # fmt: skip
        assert told.fields[0]["authorization"] == "Bearer abc"
        assert told.spans == []


@pytest.mark.parametrize("status", [302, 401, 404, 503])
async def test_one_that_does_not(status: int) -> None:
    async with collector() as told:
        told.statuses.append(status)
        told.location = told.url
        [found] = await look_at_collector(Tracing(endpoint=told.url))
    assert found.state is State.WARNING
    assert found.message.endswith(f"takes no spans: it answers {status}")


@pytest.mark.parametrize(
    ("endpoint", "ca", "words"),
    [
        ("http://127.0.0.1:1/v1/traces", None, "Connection refused"),
        ("https://127.0.0.1:1/v1/traces", "missing.pem", "No such file or directory"),
    ],
)
async def test_one_that_cannot_be_asked(
    endpoint: str, ca: str | None, words: str, tmp_path: Path
) -> None:
    tracing = Tracing(endpoint=endpoint, ca=None if ca is None else str(tmp_path / ca))
    [found] = await look_at_collector(tracing)
    assert (found.state, found.message) == (
        State.WARNING, f"the collector at {endpoint} cannot be asked: {words}",
    )  # fmt: skip
