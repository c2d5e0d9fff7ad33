"""The end of heartbeats: in which order a sidecar leaves."""

import asyncio

import pytest
from redis.exceptions import RedisError

from sidecar.sync.redis_client import ALL
from tests.unit.sync.test_parts_away import Body, Pulse


class Leaving(Pulse):
    """Notes what was still leased when it was told of the end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body(self)
        self.leased: list[frozenset[int]] = []

    async def resign(self, member: str, /) -> None:
        assert member == "m"
        if self.away:
            raise RedisError("away")
        # What this call is about may take effect at any moment from here on.
        self.leased.append(self.body.leased)


async def leaving() -> Leaving:
    """With a lease on everything."""
    pulse = Leaving()
    for _ in range(2):
        await pulse.body.heart.beat(set(ALL))
    assert pulse.body.leased == ALL
    return pulse


async def test_leases_are_given_up_before_anybody_is_told() -> None:
    pulse = await leaving()
    await pulse.body.heart.resign()
    assert pulse.leased == [frozenset()]
    assert pulse.body.leased == frozenset()
    assert not pulse.body.follower.is_leased(pulse.body.now)
    assert not pulse.body.heart.following.is_set()


async def test_they_are_given_up_even_if_nobody_can_be_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    pulse = await leaving()
    pulse.away = ALL
    await pulse.body.heart.resign()
    assert pulse.body.leased == frozenset()
    assert caplog.messages == ["could not sign off from Redis: RedisError"]


async def test_the_heartbeat_in_the_air_is_waited_for_and_is_the_last() -> None:
    pulse = await leaving()
    pulse.holds.clear()
    running = asyncio.create_task(pulse.body.heart.run())
    while not pulse.body.heart._beating.locked():
        await asyncio.sleep(0)
    stopping = asyncio.create_task(pulse.body.heart.stop())
    for _ in range(5):
        await asyncio.sleep(0)
        assert not stopping.done()
    pulse.holds.set()
    await stopping
    beats = len(pulse.beats)
    await running
    assert len(pulse.beats) == beats


async def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    pulse = await leaving()
    pulse.holds.clear()
    running = asyncio.create_task(pulse.body.heart.run())
    while not pulse.body.heart._beating.locked():
        await asyncio.sleep(0)
    await pulse.body.heart.stop()
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_heart_at_rest_stops_at_once() -> None:
    pulse = await leaving()
    running = asyncio.create_task(pulse.body.heart.run())
    while not pulse.body.heart.following.is_set():
        await asyncio.sleep(0)
    await pulse.body.heart.stop()
    await running
