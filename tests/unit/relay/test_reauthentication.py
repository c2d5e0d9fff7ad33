"""Fresh credentials on open connections: how many are tried, and what the one in use costs."""

import asyncio
import json

from sidecar.clock import wall
from tests.cases.world import present
from tests.unit.relay.stage import Stage
from tests.unit.relay.wire import TEXT, frame


def token(stage: Stage, seconds: float) -> str:
    """Another one of the client, which ends in so many seconds."""
    [(_, field)] = present(stage.world, {"token": {"sub": "ann", "exp": int(wall() + seconds)}})
    return field.decode().removeprefix("Bearer ")


async def show(stage: Stage, shown: str) -> dict[str, object]:
    message = json.dumps({"type": "sidecar.authenticate", "token": shown})
    stage.client.feed(frame(TEXT, message.encode()))
    await stage.turns(lambda: bool(stage.client.written))
    answer: dict[str, object] = json.loads(stage.client.take()[2:])
    return answer


async def test_one_in_use_is_answered_without_asking() -> None:
    stage = await Stage({"reauthenticate": {}}).opened()
    fresh = token(stage, 5000)
    first = await show(stage, fresh)
    assert first["type"] == "sidecar.authenticated"
    settled = stage.decides.settled
    for _ in range(1000):
        assert await show(stage, fresh) == first
    assert stage.decides.settled == settled
    assert len(stage.lives._register._ends) <= 2
    counts = stage.relay.report().messages
    assert counts["client", "reauthenticated", "* /ws"] == 1001


async def test_so_many_are_tried_at_once_and_then_one_by_one() -> None:
    stage = await Stage({"reauthenticate": {}}).opened()
    for number in range(10):
        assert (await show(stage, token(stage, 2000 + number)))["type"] == "sidecar.authenticated"
    refused = {"type": "sidecar.refused", "reason": "too-often"}
    settled = stage.decides.settled
    for number in range(100):
        assert await show(stage, token(stage, 3000 + number)) == refused
    assert stage.decides.settled == settled
    stage.clock += 6.0
    assert (await show(stage, token(stage, 4000)))["type"] == "sidecar.authenticated"
    assert await show(stage, token(stage, 4001)) == refused


async def test_the_end_is_announced_and_put_off_by_a_fresh_credential() -> None:
    stage = await Stage({"reauthenticate": {"announce_seconds": 60}}, expires_in=65.0).opened()
    stage.forward(4.0)
    assert stage.client.take() == b""
    stage.forward(7.0)
    told = json.loads(stage.client.take()[2:])
    assert told["type"] == "sidecar.expiring"
    stage.forward(1.0)
    assert stage.client.take() == b"", "once"
    assert (await show(stage, token(stage, 5000)))["type"] == "sidecar.authenticated"
    stage.forward(600.0)
    assert b"sidecar.expiring" not in stage.client.take()


async def test_what_is_no_credential_is_refused_without_asking() -> None:
    stage = await Stage({"reauthenticate": {}}).opened()
    settled = stage.decides.settled
    refused = {"type": "sidecar.refused", "reason": "malformed-credential"}
    for shown in (None, 7, ["x"]):
        message = json.dumps({"type": "sidecar.authenticate", "token": shown})
        stage.client.feed(frame(TEXT, message.encode()))
        assert json.loads(stage.client.take()[2:]) == refused
    assert await show(stage, "x") == refused
    assert stage.decides.settled == settled


async def test_who_left_while_a_credential_was_tried_gets_nothing() -> None:
    stage = await Stage({"reauthenticate": {}}).opened()
    answer = stage.decides.waits_for = asyncio.Event()
    message = json.dumps({"type": "sidecar.authenticate", "token": token(stage, 5000)})
    stage.client.feed(frame(TEXT, message.encode()))
    await asyncio.sleep(0)
    life = stage.session.life
    before = life.credential
    stage.session.cut()
    stage.client.lose()
    stage.upstream.lose()
    answer.set()
    await stage.turns()
    assert life.credential == before
    assert not len(stage.lives)
    assert not stage.lives._register._end_of
