"""One session between two transports: what passes, what is held, and each way to end."""

import asyncio
import json
import time
from typing import Any

import pytest

from sidecar.model.facts import Status, User
from sidecar.model.need import UserNeed
from sidecar.relay.closing import BINARY as WHOLE_BINARY
from sidecar.relay.closing import frame as ours
from tests.cases.world import present
from tests.unit.relay.stage import ANN, FakeTransport, Stage, unavailable
from tests.unit.relay.wire import CLOSE, CONTINUATION, PING, TEXT, closing, frame, mask

HELLO = frame(TEXT, b"hello")
REPLY = frame(TEXT, b"reply", masked=False)


def disable(stage: Stage) -> None:
    """The user is disabled, and memory has heard of it."""
    stage.world.facts[ANN] = User(version=9, tenant="acme", subject="ann", status=Status.DISABLED)
    stage.memory.drop(ANN)


def unmasked(octets: bytes) -> tuple[int, bytes]:
    """Opcode and payload of one short masked frame."""
    assert octets[1] & 0x80
    assert len(octets) == 6 + (octets[1] & 0x7F)
    return octets[0], mask(octets[6:], octets[2:6])


def closed(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, closing(code, reason), masked=False)


async def test_both_directions_as_they_come() -> None:
    stage = await Stage().opened(early=HELLO, said=REPLY)
    assert (stage.upstream.take(), stage.client.take()) == (HELLO, REPLY)
    stage.client.feed(HELLO[:3])
    stage.client.feed(HELLO[3:])
    stage.upstream.feed(REPLY)
    assert (stage.upstream.take(), stage.client.take()) == (HELLO, REPLY)
    assert stage.session.messages == (2, 2)
    counts = stage.relay.report()
    assert counts.messages["client", "relayed", "* /ws"] == 2
    assert counts.octets["server", "* /ws"] == 2 * len(REPLY)


async def test_a_close_goes_through_and_ends_both() -> None:
    stage = await Stage().opened()
    stage.client.feed(frame(CLOSE, closing(1000)) + HELLO)
    assert stage.upstream.take() == frame(CLOSE, closing(1000))
    stage.upstream.feed(REPLY + closed(1000))
    assert stage.client.take() == REPLY + closed(1000)
    assert (stage.client.ending, stage.upstream.ending) == ("closed", "")
    stage.client.lose()
    assert stage.upstream.ending == "closed"
    stage.upstream.lose()
    assert [session.cause for session in stage.ended] == ["client-closed"]
    assert stage.relay.counts.closes["client-closed", "1000", "* /ws"] == 1
    assert (len(stage.relay), len(stage.lives), stage.lost) == (0, 0, 2)


async def test_who_does_not_answer_a_close_is_reset() -> None:
    stage = await Stage().opened()
    stage.upstream.feed(closed(1001))
    assert stage.client.take() == closed(1001)
    stage.forward(1.9)
    assert stage.client.ending == ""
    stage.forward(0.2)
    assert (stage.client.ending, stage.upstream.ending) == ("reset", "reset")


async def test_a_revocation_stops_the_next_read_and_tells_both() -> None:
    stage = await Stage().opened()
    disable(stage)
    stage.client.feed(HELLO)
    stage.upstream.feed(REPLY)
    assert (stage.upstream.take(), stage.client.take()) == (b"", b"")
    await stage.turns(lambda: bool(stage.client.written))
    assert stage.client.take() == closed(4401, b"user-disabled")
    assert unmasked(stage.upstream.take()) == (0x88, closing(1001, b"user-disabled"))
    stage.client.feed(HELLO)
    assert stage.upstream.take() == b""
    stage.client.feed(frame(CLOSE, closing(4401)))
    assert stage.client.ending == "closed"
    stage.client.lose()
    assert stage.upstream.ending == "", "it has not answered yet"
    stage.forward(3)
    assert stage.upstream.ending == "reset"
    stage.upstream.lose()
    [session] = stage.ended
    assert (session.cause, session.code) == ("user-disabled", 4401)
    assert session.denial is not None


async def test_where_no_frame_can_follow_the_end_is_reset() -> None:
    stage = await Stage().opened()
    begun = frame(TEXT, b"x" * 300)
    stage.client.feed(begun[:50])
    assert stage.upstream.take() == begun[:50]
    stage.session.leave()
    assert stage.client.take() == closed(1012, b"restart")
    assert (stage.upstream.take(), stage.upstream.ending) == (b"", "reset")


async def test_who_does_not_read_is_reset_not_told() -> None:
    """What waits for it would still reach it."""
    stage = await Stage().opened()
    stage.client.protocol.pause_writing()
    stage.session.leave()
    assert (stage.client.take(), stage.client.ending) == (b"", "reset")
    assert unmasked(stage.upstream.take())[1] == closing(1001, b"restart")


async def test_without_an_answer_of_the_stores_everything_waits_and_then_ends() -> None:
    stage = await Stage({"hold_seconds": 0.2}).opened()
    stage.memory.lease_all(0.0)
    stage.decides.refusal = unavailable()
    stage.client.feed(HELLO)
    stage.upstream.feed(REPLY)
    assert (stage.client.is_paused, stage.upstream.is_paused) == (True, True)
    await stage.turns(lambda: not stage.lives._reviewer._workers)
    life = stage.session.life
    assert life.held_since is not None
    stage.lives.expire()
    await stage.turns(lambda: not stage.lives._reviewer._workers)
    assert stage.session.is_over is False
    life.held_since -= 0.3
    stage.lives.expire()
    assert stage.client.take() == closed(1013, b"stores-unavailable")
    assert (stage.client.is_paused, stage.upstream.is_paused) == (False, False)


async def test_what_was_held_passes_in_order_when_it_may() -> None:
    stage = await Stage().opened()
    stage.memory.lease_all(0.0)
    for octets in (HELLO, frame(TEXT, b"two")):
        stage.client.feed(octets)
    stage.upstream.feed(REPLY)
    assert stage.upstream.take() == b""
    await stage.turns(lambda: bool(stage.upstream.written))
    assert stage.upstream.take() == HELLO + frame(TEXT, b"two")
    assert stage.client.take() == REPLY
    assert (stage.client.is_paused, stage.upstream.is_paused) == (False, False)
    settled = stage.decides.settled
    stage.client.feed(HELLO)
    assert stage.upstream.take() == HELLO, "what the stores said stands for half a lease"
    assert stage.decides.settled == settled
    stage.memory.drop(ANN)
    stage.client.feed(HELLO)
    assert stage.upstream.take() == b"", "but not after a change"


async def test_the_returning_lease_lets_it_go_on() -> None:
    stage = await Stage().opened()
    stage.memory.lease_all(0.0)
    stage.decides.refusal = unavailable()
    stage.client.feed(HELLO)
    await stage.turns(lambda: not stage.lives._reviewer._workers)
    assert stage.upstream.take() == b""
    stage.memory.lease_all(1e12)
    stage.lives.expire()
    await stage.turns(lambda: bool(stage.upstream.written))
    assert stage.upstream.take() == HELLO


async def test_an_end_that_is_lost_is_lost_for_the_other() -> None:
    for lost, other in (("client", "upstream"), ("upstream", "client")):
        stage = await Stage().opened()
        getattr(stage, lost).lose()
        assert (getattr(stage, other).take(), getattr(stage, other).ending) == (b"", "closed")
        getattr(stage, other).lose()
        [session] = stage.ended
        assert (session.cause, session.code) == (f"{lost}-lost", 1006)


async def test_a_violation_is_told_to_the_other_and_to_the_offender_last() -> None:
    stage = await Stage().opened()
    stage.client.feed(HELLO + frame(3, b"x") + HELLO)
    told = stage.upstream.take()
    assert told.startswith(HELLO)
    assert unmasked(told.removeprefix(HELLO))[1][:2] == closing(1002)
    stage.upstream.feed(REPLY + closed(1000))
    assert stage.client.take() == REPLY + closed(1002, b"opcode 3")
    assert stage.client.ending == "closed"
    stage.client.lose()
    stage.upstream.lose()
    assert [session.cause for session in stage.ended] == ["protocol"]


async def test_an_offender_is_told_although_the_other_does_not_answer() -> None:
    stage = await Stage().opened()
    stage.client.feed(frame(3, b"x"))
    stage.forward(2.1)
    assert stage.client.take() == closed(1002, b"opcode 3")


async def test_an_offender_is_told_although_the_other_is_lost() -> None:
    stage = await Stage().opened()
    stage.client.feed(frame(3, b"x"))
    stage.upstream.lose()
    assert stage.client.take() == closed(1002, b"opcode 3")
    assert stage.client.ending == "closed", "nothing it could say is an answer"


async def test_violations_of_the_upstream() -> None:
    stage = await Stage().opened()
    stage.upstream.feed(frame(TEXT, b"masked"))
    assert stage.client.take() == closed(1002, b"masked in the wrong direction")
    stage.client.feed(frame(3, b"x"))
    assert unmasked(stage.upstream.take())[1][:2] == closing(1002), "both are wrong: both end"


async def test_a_violation_within_a_frame_that_is_under_way() -> None:
    stage = await Stage().opened()
    begun = frame(TEXT, b"x" * 300, masked=False)
    stage.upstream.feed(begun[:100])
    stage.client.feed(frame(3, b"x"))
    stage.upstream.feed(begun[100:] + closed(1002))
    assert stage.client.take() == begun + closed(1002, b"opcode 3")


async def test_back_pressure() -> None:
    stage = await Stage().opened()
    stage.client.protocol.pause_writing()
    assert (stage.upstream.is_paused, stage.client.is_paused) == (True, False)
    stage.upstream.protocol.pause_writing()
    assert stage.client.is_paused
    stage.client.protocol.resume_writing()
    assert (stage.upstream.is_paused, stage.client.is_paused) == (False, True)
    stage.forward(29)
    assert stage.upstream.ending == ""
    stage.forward(2)
    assert (stage.client.ending, stage.upstream.ending) == ("reset", "reset")
    stage.client.lose()
    stage.upstream.lose()
    assert [session.cause for session in stage.ended] == ["upstream-stalled"]


async def test_who_catches_up_in_time_is_not_stalled() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.protocol.pause_writing()
    stage.client.protocol.resume_writing()
    stage.forward(40)
    assert stage.client.ending == ""


async def test_pings_find_who_is_gone() -> None:
    stage = await Stage({"ping_seconds": 10}).opened()
    stage.forward(10)
    stage.client.feed(HELLO)
    stage.upstream.take()
    stage.forward(10)
    assert stage.client.take() == b"", "it was heard"
    assert unmasked(stage.upstream.take()) == (0x80 | PING, b"sidecar")
    stage.upstream.feed(REPLY)
    stage.forward(10)
    assert stage.client.take() == REPLY + frame(PING, b"sidecar", masked=False)
    stage.forward(10)
    assert stage.client.ending == "reset"
    assert unmasked(stage.upstream.take())[1][:2] in {closing(1001), b"si"}


async def test_an_upstream_that_is_gone() -> None:
    stage = await Stage({"ping_seconds": 10}).opened()
    for _ in range(3):
        stage.client.feed(HELLO)
        stage.forward(10)
    assert stage.upstream.ending == "reset"
    assert stage.client.take() == closed(1011, b"silent")


async def test_idleness_is_about_messages() -> None:
    stage = await Stage({"idle_seconds": 8, "ping_seconds": 0}).opened()
    for _ in range(4):
        stage.forward(4)
        stage.upstream.feed(REPLY)
    stage.client.take()
    for _ in range(5):
        stage.client.feed(frame(PING))
        stage.forward(2)
    assert stage.client.take() == closed(1001, b"idle")


async def test_a_rate_is_a_mean() -> None:
    stage = await Stage({"messages_per_second": 1}).opened()
    for _ in range(10):
        stage.client.feed(HELLO)
    stage.clock += 11
    for _ in range(10):
        stage.client.feed(HELLO)
    assert stage.upstream.take() == HELLO * 20
    stage.client.feed(HELLO * 5)
    assert unmasked(stage.upstream.take())[1] == closing(1008, b"too many messages")


async def test_a_public_route_has_nobody_to_ask_about() -> None:
    stage = await Stage(access="public").opened()
    stage.memory.lease_all(0.0)
    stage.client.feed(HELLO)
    assert stage.upstream.take() == HELLO


async def test_expiry_is_seen_by_a_read_and_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_at_rest in (True, False):
        stage = await Stage(expires_in=100.0).opened()
        stage.client.feed(HELLO)
        assert stage.upstream.take() == HELLO
        with monkeypatch.context() as later:
            for name in ("life", "lives"):
                later.setattr(f"sidecar.relay.{name}.wall", lambda: time.time() + 200)
            later.setattr("tests.unit.relay.stage.wall", lambda: time.time() + 200)
            if is_at_rest:
                stage.lives.expire()
                await stage.turns()
            else:
                stage.client.feed(HELLO)
        assert stage.client.take() == closed(4401, b"token-expired")
        assert HELLO not in stage.upstream.take()


async def test_certified_clients_leave_when_authorities_change() -> None:
    stage = await Stage().opened()
    stage.relay.retire_certified()
    assert stage.client.take() == b"", "it has no certificate"
    stage.relay.cut()
    assert (stage.client.ending, stage.upstream.ending) == ("reset", "reset")


@pytest.mark.parametrize(
    "message",
    [b"[1]", b'"x"', b"{", b"{}", b'{"type": "other"}', b'{"type": ["sidecar.authenticate"]}'],
)
async def test_other_messages_pass_where_fresh_credentials_are_taken(message: bytes) -> None:
    stage = await Stage({"reauthenticate": {}}).opened()
    octets = frame(TEXT, message[:1], final=False) + frame(CONTINUATION, message[1:])
    stage.client.feed(octets)
    assert stage.upstream.take() == octets


async def test_one_fresh_credential_at_a_time() -> None:
    stage = await Stage({"reauthenticate": {}}).opened()
    show = frame(TEXT, json.dumps({"type": "sidecar.authenticate", "token": "a.b.c"}).encode())
    stage.client.feed(show + show)
    assert stage.upstream.take() == b""
    told: Any = stage.client.take()
    assert b"one-at-a-time" in told
    await stage.turns(lambda: bool(stage.client.written))
    assert b"sidecar.refused" in stage.client.take()


async def test_text_that_is_none_ends_it_where_messages_are_read() -> None:
    stage = await Stage({"reauthenticate": {}}).opened()
    stage.client.feed(frame(TEXT, b"\xff"))
    assert unmasked(stage.upstream.take())[1] == closing(1007, b"not UTF-8")
    stage = await Stage({"reauthenticate": {}}).opened()
    stage.upstream.feed(ours(WHOLE_BINARY, b"\xff"))
    assert stage.client.take() == ours(WHOLE_BINARY, b"\xff")


async def test_what_waits_is_counted_and_bounded() -> None:
    stage = await Stage().opened()
    stage.client.unsent = 70_000
    stage.client.protocol.pause_writing()
    assert stage.budget.used_bytes == 70_000
    stage.client.protocol.resume_writing()
    assert stage.budget.used_bytes == 0
    stage.client.unsent = 2_000_000
    stage.client.protocol.pause_writing()
    assert (stage.client.ending, stage.budget.shed["websocket"]) == ("reset", 1)
    stage.client.lose()
    stage.upstream.lose()
    assert [session.cause for session in stage.ended] == ["memory"]
    assert stage.budget.used_bytes == 0


async def test_unfinished_messages_are_counted() -> None:
    stage = await Stage({"reauthenticate": {}}).opened()
    octets = frame(TEXT, b"x" * 100_000)
    stage.client.feed(octets[:60_000])
    assert stage.budget.used_bytes == 60_000
    stage.client.feed(octets[60_000:])
    assert stage.budget.used_bytes == 0
    assert stage.upstream.take() == octets


async def test_a_handshake_that_was_under_way_when_we_began_to_end() -> None:
    stage = Stage()
    stage.relay.drain(10.0)
    await stage.opened(early=HELLO)
    assert stage.client.take() == closed(1012, b"restart")
    told = stage.upstream.take()
    assert unmasked(told.removeprefix(HELLO))[1] == closing(1001, b"restart")
    stage.relay.cut()
    assert (stage.client.ending, stage.upstream.ending) == ("reset", "reset")


async def test_a_fresh_credential_of_somebody_else_extends_nothing() -> None:
    for subject, reason in (("bob", b"another-subject"), ("ann", b"sidecar.authenticated")):
        stage = await Stage({"reauthenticate": {}}).opened()
        stage.world.facts[UserNeed("acme", "bob")] = User(version=1, tenant="acme", subject="bob")
        credential = {"token": {"sub": subject, "exp": int(time.time()) + 5000}}
        [(_, field)] = present(stage.world, credential)
        token = field.decode().removeprefix("Bearer ")
        before = stage.session.permit.expires_at
        show = json.dumps({"type": "sidecar.authenticate", "token": token})
        stage.client.feed(frame(TEXT, show.encode()))
        await stage.turns(lambda: bool(stage.client.written))  # noqa: B023 - called at once
        assert reason in stage.client.take()
        assert (stage.session.permit.expires_at > before) is (subject == "ann")
        assert stage.session.life.head.upgrade is not None
        assert stage.upstream.take() == b""


async def test_a_bug_in_cutting_one_leaves_no_other_open(caplog: pytest.LogCaptureFixture) -> None:
    stage = await Stage().opened()
    bad, first = stage.client, stage.session
    stage.relay._sessions.clear()
    stage.client, stage.upstream = FakeTransport(), FakeTransport()
    await stage.opened()
    sessions: Any = {first: None, stage.session: None}
    stage.relay._sessions = sessions  # in order
    stage.lives.cut = lambda: None  # type: ignore[method-assign] # all only wait for an answer

    def reset(transport: asyncio.Transport) -> None:
        if transport is bad:
            raise RuntimeError("a bug")
        transport.abort()

    stage.relay.reset = reset  # type: ignore[misc] # a bug
    stage.relay.cut()
    assert (stage.client.ending, stage.upstream.ending) == ("reset", "reset")
    assert "could not be ended in order" in caplog.text
