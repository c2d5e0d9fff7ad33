"""The benchmark without sockets serves what it says, and its reference stays what it was."""

from collections.abc import AsyncIterator

import pytest

from perf.micro.relay import Relay, reference
from perf.workload import TOKENS


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


async def test_every_request_is_permitted_and_relayed(relay: Relay) -> None:
    for _ in range(3):
        relay.check()
    records = relay.audit._waiting
    assert len(records) == 3 * TOKENS
    assert {getattr(each, "outcome", None) for each in records} == {"permit"}
    assert len({getattr(each, "subject", None) for each in records}) == TOKENS


def test_the_reference_does_the_same_each_time() -> None:
    counts: dict[tuple[bytes, int], int] = {}
    assert reference(counts) == reference(counts) > 0
    assert set(counts.values()) == {2}
