"""Who is slow is not gone, who is gone is not waited for, and nobody fills memory with nothing."""

import pytest

from sidecar.relay.counts import code_label
from tests.unit.relay.stage import Stage
from tests.unit.relay.test_reader import Scripted
from tests.unit.relay.test_session import HELLO, REPLY, closed, disable, unmasked
from tests.unit.relay.wire import CLOSE, CONTINUATION, PING, PONG, TEXT, closing, frame

PINGED = frame(PING, b"sidecar", masked=False)


# -- Nothing, many times ---------------------------------------------------------------------


async def test_fragments_of_nothing_fill_the_room_of_a_message() -> None:
    stage = await Stage({"read_bytes": 1000}, Scripted()).opened()
    stage.client.feed(frame(TEXT, b"x", final=False))
    empty = frame(CONTINUATION, final=False)
    for _ in range(1000 // len(empty)):
        stage.client.feed(empty)
    assert stage.upstream.take() == b"", "not one too many yet"
    assert stage.session.kept_bytes() <= 2 * 1000
    stage.client.feed(empty)
    assert unmasked(stage.upstream.take())[1][:2] == closing(1009)


async def test_fragments_that_pass_unread_are_kept_by_nobody() -> None:
    stage = await Stage({"message_bytes": 1000}).opened()
    stage.client.feed(frame(TEXT, b"x", final=False) + frame(CONTINUATION, final=False) * 2000)
    assert stage.session.kept_bytes() == 0
    assert stage.session.is_relaying


@pytest.mark.parametrize("gate", [None, Scripted()], ids=["unread", "read"])
@pytest.mark.parametrize(
    "cheap", [frame(PING), frame(PONG), frame(CONTINUATION, b"x" * 125, final=False)]
)
async def test_what_carries_nothing_counts_as_messages_do(
    cheap: bytes, gate: Scripted | None
) -> None:
    stage = await Stage({"messages_per_second": 1}, gate).opened()
    stage.client.feed(frame(TEXT, b"", final=False) + cheap * 9)
    stage.upstream.take()
    assert stage.session.is_relaying
    stage.client.feed(cheap)
    assert unmasked(stage.upstream.take()[-25:])[1] == closing(1008, b"too many messages")
    stage.client.feed(HELLO)
    assert stage.upstream.take() == b""


async def test_a_large_message_in_pieces_is_one() -> None:
    stage = await Stage({"messages_per_second": 1}).opened()
    octets = frame(TEXT, b"", final=False) + frame(CONTINUATION, b"x" * 126, final=False) * 50
    stage.client.feed(octets)
    assert stage.upstream.take() == octets


async def test_what_waits_for_a_decision_is_told_to_the_budget() -> None:
    stage = await Stage().opened()
    stage.session.hold()
    stage.client.protocol.data_received(b"x" * 5000)
    assert stage.budget.used_bytes == 5000


def test_codes_that_clients_choose_are_told_by_their_kind() -> None:
    told = {code_label(code) for code in (1000, 1006, 4401, 4403, 3000, 3999, 4000, 4999)}
    assert told == {"1000", "1006", "4401", "4403", "3xxx", "4xxx"}


# -- Silence ---------------------------------------------------------------------------------


async def test_who_takes_what_waited_for_it_is_alive() -> None:
    stage = await Stage({"ping_seconds": 10}).opened()
    stage.forward(10)
    stage.client.unsent = 100_000
    for taken in (0, 40_000, 80_000, 81_000):
        stage.client.taken = taken
        stage.upstream.feed(REPLY)
        stage.forward(10)
    assert stage.client.take().count(PINGED) == 1
    assert stage.session.is_relaying
    stage.upstream.feed(REPLY)
    stage.forward(10)
    assert stage.client.take().endswith(PINGED), "it took nothing more"
    stage.upstream.feed(REPLY)
    stage.forward(10)
    assert stage.client.ending == "reset"


async def test_that_a_kernel_takes_a_ping_is_no_sign_of_life() -> None:
    stage = await Stage({"ping_seconds": 10}).opened()
    for taken in (0, 0, len(PINGED)):
        stage.client.taken = taken
        stage.upstream.feed(REPLY)
        stage.forward(10)
    assert stage.client.ending == "reset"


async def test_who_cannot_be_pinged_is_given_longer() -> None:
    """A frame is under way to it, from an upstream that only says so much at a time."""
    stage = await Stage({"ping_seconds": 10}).opened()
    stage.upstream.feed(frame(TEXT, b"x" * 300, masked=False)[:100])
    for _ in range(5):
        stage.forward(10)
        stage.upstream.feed(b"x")
    assert stage.session.is_relaying
    stage.forward(10)
    assert stage.client.ending == "reset"


# -- Ends ------------------------------------------------------------------------------------


async def test_what_waits_for_who_is_refused_does_not_reach_it() -> None:
    stage = await Stage().opened()
    disable(stage)
    stage.upstream.unsent = 50_000
    stage.client.feed(HELLO)
    await stage.turns(lambda: bool(stage.upstream.ending))
    assert (stage.upstream.ending, stage.upstream.take()) == ("reset", b"")
    assert stage.client.take() == closed(4401, b"user-disabled")


async def test_who_is_refused_is_told_where_all_has_left_by_the_next_turn() -> None:
    stage = await Stage().opened()
    disable(stage)
    stage.client.unsent = 7
    stage.upstream.feed(REPLY)
    await stage.turns(lambda: stage.session.is_over)
    stage.client.unsent = 0
    await stage.turns(lambda: bool(stage.client.written))
    assert (stage.client.take(), stage.client.ending) == (closed(4401, b"user-disabled"), "")


async def test_a_slow_reader_gets_what_came_before_a_close() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.unsent = 100_000
    stage.upstream.feed(REPLY + closed(1000))
    for seconds in range(2, 60, 2):
        stage.client.taken += 1000
        stage.forward(2.1)
        assert stage.client.ending == "", seconds
    stage.client.unsent = 0
    stage.client.feed(frame(CLOSE, closing(1000)))
    assert stage.upstream.take() == frame(CLOSE, closing(1000))
    assert stage.client.ending == "closed"


async def test_but_not_who_reads_nothing() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.unsent = 100_000
    stage.upstream.feed(closed(1000))
    for _ in range(14):
        stage.forward(2.1)
        assert stage.client.ending == ""
    stage.forward(2.1)
    assert stage.client.ending == "reset"


async def test_nor_who_may_not_any_more() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.unsent = 100_000
    stage.upstream.feed(closed(1000))
    disable(stage)
    stage.upstream.feed(b"")
    stage.lives._reviewer.queue(stage.session.life)
    await stage.turns(lambda: bool(stage.client.ending))
    assert stage.client.ending == "reset"


async def test_an_upstream_that_closes_and_leaves_does_not_cut_its_last_words() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.unsent = 100_000
    stage.upstream.feed(REPLY + closed(1000))
    stage.upstream.lose()
    for _ in range(5):
        stage.client.taken += 1000
        stage.forward(2.1)
    assert stage.client.ending == ""
    stage.client.feed(frame(CLOSE, closing(1000)))
    assert stage.client.ending == "closed"
    stage.client.lose()
    assert [session.cause for session in stage.ended] == ["upstream-closed"]


async def test_a_client_that_closes_and_leaves_has_its_answer_awaited() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.feed(frame(CLOSE, closing(1000)))
    stage.client.lose()
    stage.upstream.feed(closed(1000))
    assert stage.upstream.ending == "closed"
    stage.upstream.lose()
    assert [(session.cause, session.code) for session in stage.ended] == [("client-closed", 1000)]


async def test_half_closed_is_left() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.unsent = 100_000
    assert not stage.client.protocol.eof_received(), "the transport closes when it has sent"
    assert stage.session.is_over
    assert stage.upstream.ending == "closed"
    stage.upstream.lose()
    stage.forward(2.1)
    assert stage.client.ending == "reset"
    stage.client.lose()
    assert [session.cause for session in stage.ended] == ["client-lost"]


async def test_half_closed_behind_a_close_frame_is_proper() -> None:
    stage = await Stage().opened()
    stage.client.feed(frame(CLOSE, closing(1000)))
    assert not stage.client.protocol.eof_received()
    assert not stage.session.is_over
    assert stage.upstream.ending == ""


# -- What the other does makes no difference -------------------------------------------------


async def test_who_does_not_read_is_not_waited_for_because_the_other_pauses_too() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.protocol.pause_writing()
    for _ in range(2):
        stage.forward(12)
        stage.upstream.protocol.pause_writing()
        stage.forward(1)
        stage.upstream.protocol.resume_writing()
    assert stage.client.ending == ""
    stage.forward(5)
    assert stage.client.ending == "reset"


async def test_who_paused_first_and_reads_on_is_not_blamed_for_the_other() -> None:
    stage = await Stage({"ping_seconds": 0}).opened()
    stage.client.protocol.pause_writing()
    stage.forward(20)
    stage.upstream.protocol.pause_writing()
    stage.client.protocol.resume_writing()
    stage.forward(20)
    assert stage.client.ending == ""
    stage.upstream.protocol.resume_writing()
    stage.forward(20)
    assert stage.client.ending == ""


async def test_who_was_slow_before_the_handshake_ended_has_no_longer() -> None:
    stage = Stage({"ping_seconds": 0})
    await stage.opened(is_stalled=True)
    stage.forward(31)
    assert stage.client.ending == "reset"


async def test_a_frame_under_way_is_ended_before_ours() -> None:
    stage = await Stage({"messages_per_second": 1}).opened()
    large = frame(TEXT, b"pay 100 to bob, not 9")
    stage.client.feed(large[:-5])
    stage.client.feed(large[-5:] + frame(TEXT) * 11)
    told = stage.upstream.take()
    assert told.startswith(large)
    assert unmasked(told.removeprefix(large))[1] == closing(1008, b"too many messages")


async def test_a_frame_that_goes_on_leaves_no_place_for_ours() -> None:
    stage = await Stage({"messages_per_second": 1}).opened()
    stage.client.feed(frame(TEXT) * 11 + frame(TEXT, b"x" * 300)[:100])
    assert (stage.upstream.take(), stage.upstream.ending) == (b"", "reset")
