"""Messages that are judged: verdicts, order, what waits for facts."""

import asyncio
import json
from collections.abc import Mapping

import pytest

from sidecar.authorize.permit import Permit
from sidecar.model.decision import Denial, Missing
from sidecar.model.facts import Status, User
from sidecar.model.need import Found, Need, UserNeed
from sidecar.relay.gate import ALLOW, Close, Direction, Drop, Kind, Message, Verdict
from tests.cases.world import present
from tests.unit.relay.stage import ANN, Stage
from tests.unit.relay.test_session import closed, unmasked
from tests.unit.relay.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT, closing, frame

BOB = UserNeed("acme", "bob")
NO = Message(Kind.TEXT, b"no")


class Scripted:
    """A gate that says what the payload asks for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Direction, Kind, bytes]] = []
        self.facts: list[dict[Need, Found | Denial]] = []
        self.permits: list[Permit] = []
        self.is_content = False

    def judge(self, direction: Direction, kind: Kind, payload: bytes) -> Verdict:
        self.asked.append((direction, kind, payload))
        match payload:
            case b"drop":
                return Drop("not-granted", to_client=NO)
            case b"drop and tell":
                return Drop("not-granted", to_upstream=Message(Kind.BINARY, b"stop"))
            case b"close":
                return Close("unknown-type", 4403, "unknown-type", to_client=NO)
            case b"load" if not self.facts:
                return Missing((BOB,))
            case b"load for ever":
                return Missing((BOB,))
            case _:
                return ALLOW

    def loaded(self, facts: Mapping[Need, Found | Denial]) -> None:
        self.facts.append(dict(facts))

    def renewed(self, permit: Permit) -> None:
        self.permits.append(permit)


async def staged() -> tuple[Stage, Scripted]:
    gate = Scripted()
    return await Stage(gate=gate).opened(), gate


async def test_what_is_allowed_goes_on_as_it_came_when_it_is_whole() -> None:
    stage, gate = await staged()
    begun = frame(TEXT, b"he", final=False)
    stage.client.feed(begun)
    stage.client.feed(frame(PING, b"p"))
    assert stage.upstream.take() == frame(PING, b"p"), "control frames do not wait"
    stage.client.feed(frame(CONTINUATION, b"llo")[:5])
    assert stage.upstream.take() == b""
    stage.client.feed(frame(CONTINUATION, b"llo")[5:])
    assert stage.upstream.take() == begun + frame(CONTINUATION, b"llo")
    stage.upstream.feed(frame(BINARY, b"x" * 70_000, masked=False))
    assert stage.client.take() == frame(BINARY, b"x" * 70_000, masked=False)
    assert gate.asked == [
        (Direction.CLIENT, Kind.TEXT, b"hello"),
        (Direction.SERVER, Kind.BINARY, b"x" * 70_000),
    ]


async def test_what_is_dropped_is_answered() -> None:
    stage, _ = await staged()
    stage.client.feed(frame(TEXT, b"drop") + frame(TEXT, b"next"))
    assert stage.upstream.take() == frame(TEXT, b"next")
    assert stage.client.take() == frame(TEXT, b"no", masked=False)
    stage.upstream.feed(frame(TEXT, b"drop and tell", masked=False))
    assert stage.client.take() == b""
    assert unmasked(stage.upstream.take()) == (0x82, b"stop")
    counts = stage.relay.report().messages
    assert counts["client", "not-granted", "* /ws"] == 1
    assert counts["client", "relayed", "* /ws"] == 1
    assert counts["server", "not-granted", "* /ws"] == 1


async def test_a_verdict_may_close() -> None:
    stage, _ = await staged()
    stage.client.feed(frame(TEXT, b"close") + frame(TEXT, b"next"))
    told = frame(TEXT, b"no", masked=False) + closed(4403, b"unknown-type")
    assert stage.client.take() == told
    assert unmasked(stage.upstream.take()) == (0x88, closing(4403, b"unknown-type"))


async def test_what_waits_for_facts_keeps_its_place() -> None:
    stage, gate = await staged()
    stage.decides.waits_for = asyncio.Event()
    stage.client.feed(frame(TEXT, b"load") + frame(TEXT, b"second"))
    assert stage.client.is_paused
    stage.client.feed(frame(TEXT, b"third"))
    stage.upstream.feed(frame(TEXT, b"meanwhile", masked=False))
    assert stage.upstream.take() == b""
    assert stage.client.take() == frame(TEXT, b"meanwhile", masked=False)
    stage.decides.waits_for.set()
    await stage.turns(lambda: bool(stage.upstream.written))
    expected = b"".join(frame(TEXT, payload) for payload in (b"load", b"second", b"third"))
    assert stage.upstream.take() == expected
    assert not stage.client.is_paused
    assert list(gate.facts[0]) == [BOB]


async def test_who_is_revoked_while_a_message_waits_gets_nothing_through() -> None:
    stage, _ = await staged()
    stage.decides.waits_for = asyncio.Event()
    stage.client.feed(frame(TEXT, b"load"))
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann", status=Status.DISABLED)
    stage.memory.drop(ANN)
    stage.decides.waits_for.set()
    await stage.turns(lambda: bool(stage.client.written))
    assert stage.client.take() == closed(4401, b"user-disabled")
    assert unmasked(stage.upstream.take())[1] == closing(1001, b"user-disabled")


async def test_rules_that_never_have_enough_end_it() -> None:
    stage, gate = await staged()
    stage.client.feed(frame(TEXT, b"load for ever"))
    await stage.turns(lambda: bool(stage.client.written))
    assert stage.client.take() == closed(1011, b"internal-error")
    assert len(gate.facts) == 4


async def test_a_change_of_the_principal_is_told_before_the_next_message() -> None:
    stage, gate = await staged()
    user = stage.world.facts[ANN]
    assert isinstance(user, User)
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann")
    stage.memory.put(ANN, stage.world.facts[ANN], 0.0)
    stage.client.feed(frame(TEXT, b"next"))
    await stage.turns(lambda: bool(stage.upstream.written))
    assert stage.upstream.take() == frame(TEXT, b"next")
    [permit] = gate.permits
    assert permit.principal is not None
    assert permit.principal.roles == ()


@pytest.mark.parametrize("payload", [b"", closing(1000)])
async def test_a_close_in_order(payload: bytes) -> None:
    stage, gate = await staged()
    stage.client.feed(frame(TEXT, b"last") + frame(CLOSE, payload) + frame(TEXT, b"more"))
    assert stage.upstream.take() == frame(TEXT, b"last") + frame(CLOSE, payload)
    assert len(gate.asked) == 1


async def test_violations_and_limits_where_messages_are_read() -> None:
    stage = await Stage({"read_bytes": 1000, "messages_per_second": 0.2}, Scripted()).opened()
    stage.client.feed(frame(TEXT, b"fine") + frame(TEXT, b"x" * 1001))
    told = stage.upstream.take()
    assert told.startswith(frame(TEXT, b"fine"))
    assert unmasked(told.removeprefix(frame(TEXT, b"fine")))[1][:2] == closing(1009)
    stage = await Stage({"messages_per_second": 0.2}, Scripted()).opened()
    stage.client.feed(frame(TEXT, b"x") * 5)
    assert unmasked(stage.upstream.take())[1] == closing(1008, b"too many messages")


async def held_while_one_waits() -> tuple[Stage, Scripted]:
    """The client's message waited for facts, and they came while nothing may pass.

    The connection may go on again, and is about to.
    """
    stage, gate = await staged()
    facts = stage.decides.waits_for = asyncio.Event()
    stage.client.feed(frame(TEXT, b"load") + frame(TEXT, b"second"))
    stage.memory.drop(ANN)
    stage.upstream.feed(frame(TEXT, b"meanwhile", masked=False))
    life = stage.session.life
    assert life.held_since is not None
    facts.set()
    for _ in range(50):
        if life.held_since is None:
            break
        await asyncio.sleep(0)
    assert gate.facts
    assert stage.upstream.take() == b""
    return stage, gate


async def test_messages_that_waited_are_not_lost_where_nothing_may_pass_again_at_once() -> None:
    stage, _ = await held_while_one_waits()
    stage.memory.drop(ANN)
    stage.decides.waits_for = asyncio.Event()
    await stage.turns()
    assert stage.upstream.take() == b""
    stage.decides.waits_for.set()
    await stage.turns(lambda: bool(stage.upstream.written))
    assert stage.upstream.take() == frame(TEXT, b"load") + frame(TEXT, b"second")
    assert stage.client.take() == frame(TEXT, b"meanwhile", masked=False)


async def test_messages_that_waited_are_asked_about_before_they_go_on() -> None:
    stage, _ = await held_while_one_waits()
    stage.session.upstream.late.clear()  # as if nothing had come from there
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann", status=Status.DISABLED)
    stage.memory.drop(ANN)
    await stage.turns(lambda: bool(stage.upstream.written))
    assert unmasked(stage.upstream.take())[1] == closing(1001, b"user-disabled")
    assert stage.client.take() == closed(4401, b"user-disabled")


async def test_a_message_that_waits_for_facts_waits_for_them_also_when_others_go_on() -> None:
    stage, gate = await staged()
    answer = stage.decides.waits_for = asyncio.Event()
    stage.client.feed(frame(TEXT, b"load"))
    await asyncio.sleep(0)
    stage.decides.waits_for = None
    stage.memory.drop(ANN)
    stage.upstream.feed(frame(TEXT, b"meanwhile", masked=False))
    await asyncio.sleep(0)
    await stage.turns(lambda: bool(stage.client.written))
    assert stage.client.take() == frame(TEXT, b"meanwhile", masked=False)
    answer.set()
    await stage.turns(lambda: bool(stage.upstream.written))
    assert len(stage.decides.asked_for) == 1
    assert [asked[2] for asked in gate.asked] == [b"load", b"meanwhile", b"load"]


async def test_a_bug_while_facts_are_loaded_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    stage, _ = await staged()

    async def facts(_missing: Missing) -> Mapping[Need, Found | Denial]:
        raise RuntimeError("a bug")

    stage.decides.facts = facts  # type: ignore[method-assign] # a bug
    stage.client.feed(frame(TEXT, b"load"))
    await stage.turns(lambda: bool(stage.client.written))
    assert stage.client.take() == closed(1011, b"internal-error")
    assert unmasked(stage.upstream.take())[1] == closing(1011, b"internal-error")
    assert "a message of request b'r1' got no facts" in caplog.text


async def test_a_bug_while_a_credential_is_tried_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    stage = await Stage({"reauthenticate": {}}).opened()

    async def settle(_asker: object) -> Permit | Denial:
        raise RuntimeError("a bug")

    stage.decides.settle = settle  # type: ignore[method-assign] # a bug
    [(_, field)] = present(stage.world, {"token": {"sub": "ann"}})
    shown = {"type": "sidecar.authenticate", "token": field.decode().removeprefix("Bearer ")}
    stage.client.feed(frame(TEXT, json.dumps(shown).encode()))
    await stage.turns(lambda: bool(stage.client.written))
    assert stage.client.take() == closed(1011, b"internal-error")
    assert "could not be tried" in caplog.text
