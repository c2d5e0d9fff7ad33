"""One shard's news as one sidecar follows it, event by event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.following import Beat, Following, Verdict

L = 1.0
LEASE = L * (1 - Following.MARGIN)


def beat(head: int, epoch: int = 1, incarnation: str = "a") -> Beat:
    return Beat(head, epoch, incarnation)


def started(head: int = 5) -> Following:
    following = Following(L)
    assert following.beat(0.0, beat(head), 0.0) is Verdict.STARTED
    return following


def test_the_first_head_gives_no_lease_yet() -> None:
    following = started()
    assert (following.watermark, following.epoch, following.lease_until) == (5, 1, 0.0)
    assert following.beat(10.0, beat(5), 10.1) is Verdict.RENEWED
    assert following.lease_until == pytest.approx(10.0 + LEASE), "from the sending, with a margin"


def test_a_lease_never_shrinks_by_a_late_answer() -> None:
    following = started()
    following.beat(10.0, beat(5), 10.1)
    following.beat(9.0, beat(5), 10.2)
    assert following.lease_until == pytest.approx(10.0 + LEASE)


def test_what_was_heard_moves_the_watermark_in_order() -> None:
    following = started()
    following.hear(7, 1.0)
    assert following.watermark == 5
    following.hear(6, 1.1)
    assert following.watermark == 7
    following.hear(3, 1.2)
    assert following.watermark == 7
    assert following.missing(100.0, 0.05) is None


def test_a_message_may_overtake_the_first_head() -> None:
    following = Following(L)
    following.hear(6, 0.0)
    following.hear(8, 0.0)
    assert following.beat(0.0, beat(5), 0.1) is Verdict.STARTED
    assert following.watermark == 6


def test_a_message_may_overtake_an_answer() -> None:
    following = started()
    following.hear(6, 1.0)
    assert following.beat(0.9, beat(5), 1.1) is Verdict.RENEWED


def test_a_lost_message_is_noticed_by_the_heartbeat_and_replayed() -> None:
    following = started()
    assert following.beat(1.0, beat(7), 1.1) is Verdict.BEHIND
    assert following.lease_until == 0.0
    assert following.missing(1.11, 0.05) is None, "patience first"
    assert following.missing(1.2, 0.05) == (6, 7)
    following.hear(6, 1.3)
    following.hear(7, 1.3)
    assert following.missing(1.4, 0.05) is None
    assert following.beat(2.0, beat(7), 2.1) is Verdict.RENEWED


def test_a_gap_before_what_was_heard_is_replayed_up_to_it() -> None:
    following = started()
    following.hear(9, 1.0)
    assert following.missing(1.06, 0.05) == (6, 8)


def test_what_nobody_can_replay_is_skipped() -> None:
    following = started()
    following.beat(1.0, beat(9), 1.1)
    following.hear(11, 1.1, 1)
    following.skip_to(9)
    assert following.watermark == 9
    assert following.missing(1.2, 0.05) == (10, 10)
    following.skip_to(4)
    assert following.watermark == 9


def test_an_earlier_epoch_is_of_a_master_that_was_replaced() -> None:
    following = started()
    assert following.beat(1.0, beat(5, epoch=3), 1.1) is Verdict.NEW_EPOCH
    assert following.beat(2.0, beat(9, epoch=2), 2.1) is Verdict.SUSPECT
    assert (following.epoch, following.watermark, following.lease_until) == (3, 5, 0.0)
    assert following.beat(3.0, beat(5, epoch=3), 3.1) is Verdict.RENEWED


def test_a_new_epoch_keeps_the_watermark_and_renews_only_the_next_time() -> None:
    following = started()
    following.hear(6, 1.0)
    assert following.beat(1.0, beat(6, epoch=2), 1.1) is Verdict.NEW_EPOCH
    assert (following.watermark, following.lease_until) == (6, 0.0)
    assert following.beat(2.0, beat(6, epoch=2), 2.1) is Verdict.RENEWED


def test_a_head_that_falls_within_an_epoch_is_suspect() -> None:
    following = started()
    assert following.beat(1.0, beat(4), 1.1) is Verdict.SUSPECT
    assert following.lease_until == 0.0


def test_a_new_incarnation_begins_anew() -> None:
    following = started()
    following.beat(1.0, beat(5), 1.1)
    following.hear(9, 1.2)
    assert following.beat(2.0, beat(3, incarnation="b"), 2.1) is Verdict.FLUSH
    assert (following.watermark, following.lease_until) == (3, 0.0)
    assert following.missing(9.0, 0.0) is None


def test_no_answer_renews_nothing() -> None:
    following = started()
    assert following.beat(1.0, None, 1.1) is Verdict.SUSPECT
    assert following.lease_until == 0.0


def test_a_lease_can_be_ended() -> None:
    following = started()
    following.beat(1.0, beat(5), 1.1)
    following.lapse()
    assert following.lease_until == 0.0


def test_news_of_another_life_do_not_move_the_watermark() -> None:
    following = started()
    following.hear(6, 1.0, epoch=2)
    assert (following.watermark, following.latest) == (5, 5)
    following.hear(7, 1.0, epoch=1)
    assert (following.watermark, following.latest) == (5, 7)
    following.hear(6, 1.0)
    assert following.watermark == 7
    waiting = Following(L)
    waiting.hear(6, 0.0, epoch=9)
    assert waiting.beat(0.0, beat(5), 0.1) is Verdict.STARTED
    assert waiting.watermark == 5


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("hear"), st.integers(1, 12)),
            st.tuples(st.just("beat"), st.integers(1, 12)),
        ),
        max_size=30,
    )
)
def test_a_lease_is_renewed_only_when_all_below_the_head_was_heard(
    events: list[tuple[str, int]],
) -> None:
    following = started(0)
    heard: set[int] = set()
    head = 0
    for now, (kind, number) in enumerate(events):
        if kind == "hear":
            heard.add(number)
            following.hear(number, float(now))
            continue
        head = max(head, number)
        verdict = following.beat(float(now), beat(head), float(now))
        everything = set(range(1, head + 1)) <= heard
        assert verdict is (Verdict.RENEWED if everything else Verdict.BEHIND)
        if verdict is Verdict.BEHIND:
            missing = following.missing(float(now), 0.0)
            assert missing is not None
            first, last = missing
            assert first not in heard
            assert first <= last


def test_a_later_epoch_that_begins_before_what_was_applied_is_of_restored_data() -> None:
    following = started(5)
    assert following.beat(1.0, beat(3, epoch=2), 1.0) is Verdict.FLUSH
    assert (following.watermark, following.epoch, following.lease_until) == (3, 2, 0.0)
    assert following.beat(2.0, beat(3, epoch=2), 2.0) is Verdict.RENEWED


@pytest.mark.parametrize(
    ("seq", "epoch", "refuted"), [(5, 1, False), (6, 2, False), (4, 1, True), (9, 0, True)]
)
def test_postgresql_that_has_less_than_was_followed_is_of_an_earlier_time(
    seq: int, epoch: int, *, refuted: bool
) -> None:
    following = started(5)
    assert following.is_refuted(following.claim, seq, epoch) is refuted


def test_what_was_asked_in_another_life_refutes_nothing() -> None:
    following = started(5)
    claim = following.claim
    following.restart()
    assert not following.is_refuted(claim, 1, 0)
    assert following.beat(1.0, beat(2), 1.0) is Verdict.STARTED
    assert following.watermark == 2


def test_own_changes_of_another_life_do_not_take_the_watermark_with_them() -> None:
    following = started(5)
    following.hear(9, 1.0)
    assert following.missing(2.0, 0.0) == (6, 8)
    following.skip_to(8)
    assert (following.watermark, following.missing(3.0, 0.0)) == (5, None)
    following.hear(6, 3.0, 1)
    assert following.watermark == 6


def test_what_was_published_is_skipped_up_to() -> None:
    following = started(5)
    following.hear(9, 1.0, 1)
    following.skip_to(8)
    assert following.watermark == 9


def test_what_redis_had_counts_before_it_is_applied() -> None:
    following = started(5)
    following.beat(1.0, beat(9), 1.0)
    assert following.is_refuted(following.claim, 7, 1)
    assert following.beat(2.0, beat(7, epoch=2), 2.0) is Verdict.FLUSH
