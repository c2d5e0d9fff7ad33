"""What news does to memory: watermarks, gaps, epochs, the lease."""

import pytest

from sidecar.model.change import ChangeKind
from sidecar.model.need import Need, RolesNeed, SessionNeed, UserNeed
from sidecar.sync.follower import Follower
from sidecar.sync.keyspace import News, decode_news


class Recorder:
    """Stands for memory and flights; writes down what it is told."""

    def __init__(self) -> None:
        self.lease_until = 0.0
        self.told: list[tuple[str, object]] = []

    def drop(self, need: Need) -> None:
        self.told.append(("drop", need))

    def drop_session(self, digest: bytes) -> None:
        self.told.append(("drop_session", digest))

    def drop_tenant(self, tenant: str) -> None:
        self.told.append(("drop_tenant", tenant))

    def flush(self) -> None:
        self.told.append(("flush", None))

    def doom(self, need: Need) -> None:
        self.told.append(("doom", need))

    def doom_tenant(self, tenant: str) -> None:
        self.told.append(("doom_tenant", tenant))

    def doom_all(self) -> None:
        self.told.append(("doom_all", None))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def follower(recorder: Recorder) -> Follower:
    return Follower(recorder, recorder, 1.5)


def news(seq: int, kind: ChangeKind = ChangeKind.USER, *, epoch: int = 1, shard: int = 3) -> News:
    return News(epoch, shard, seq, kind, "acme", "alice", seq, b"digest")


FLUSHED: list[tuple[str, object]] = [("flush", None), ("doom_all", None)]
ALICE = UserNeed("acme", "alice")
EFFECTS: dict[ChangeKind, list[tuple[str, object]]] = {
    ChangeKind.USER: [("drop", ALICE), ("doom", ALICE)],
    ChangeKind.ROLES: [("drop", RolesNeed("acme")), ("doom", RolesNeed("acme"))],
    ChangeKind.SESSION: [("drop_session", b"digest"), ("doom", SessionNeed(b"digest", 3))],
    ChangeKind.TENANT: [("drop_tenant", "acme"), ("doom_tenant", "acme")],
    ChangeKind.FLUSH: FLUSHED,
}


@pytest.mark.parametrize("kind", list(ChangeKind))
def test_each_kind_forgets_and_dooms_what_it_names(
    follower: Follower, recorder: Recorder, kind: ChangeKind
) -> None:
    follower.apply(news(1, kind))
    assert recorder.told == EFFECTS[kind]


def test_in_order_nothing_else_is_forgotten(follower: Follower, recorder: Recorder) -> None:
    for seq in (7, 8, 9):
        follower.apply(news(seq))
    assert recorder.told == EFFECTS[ChangeKind.USER] * 3
    assert (follower.watermark(3), follower.gaps, follower.applied) == (9, 0, 3)


def test_a_gap_flushes_before_it_applies(follower: Follower, recorder: Recorder) -> None:
    follower.apply(news(7))
    recorder.told.clear()
    follower.apply(news(9))
    assert recorder.told == FLUSHED + EFFECTS[ChangeKind.USER]
    assert (follower.watermark(3), follower.gaps) == (9, 1)


def test_a_repetition_is_applied_again_and_moves_nothing_back(
    follower: Follower, recorder: Recorder
) -> None:
    follower.apply(news(7))
    follower.apply(news(6))
    assert recorder.told == EFFECTS[ChangeKind.USER] * 2
    assert (follower.watermark(3), follower.gaps) == (7, 0)


def test_another_epoch_flushes_and_may_begin_lower(follower: Follower, recorder: Recorder) -> None:
    follower.apply(news(7))
    recorder.told.clear()
    follower.apply(news(2, epoch=2))
    assert recorder.told[:2] == FLUSHED
    assert follower.watermark(3) == 2
    follower.apply(news(3, epoch=2))
    assert follower.gaps == 1


def test_shards_are_apart(follower: Follower) -> None:
    follower.apply(news(7))
    follower.apply(news(1, shard=4))
    assert (follower.watermark(3), follower.watermark(4), follower.gaps) == (7, 1, 0)


def test_an_impossible_shard_is_ignored(follower: Follower, recorder: Recorder) -> None:
    follower.apply(news(7, shard=16))
    follower.apply(news(7, shard=-1))
    assert recorder.told == []


def test_starting_anew_flushes_and_forgets_the_watermarks(
    follower: Follower, recorder: Recorder
) -> None:
    follower.apply(news(7))
    recorder.told.clear()
    follower.start_anew()
    assert recorder.told == FLUSHED
    assert follower.watermark(3) is None
    follower.apply(news(20, epoch=5))
    assert follower.gaps == 0


def test_the_lease_counts_from_the_sending_and_never_shrinks(
    follower: Follower, recorder: Recorder
) -> None:
    follower.prove(100.0)
    assert recorder.lease_until == 101.5
    follower.prove(99.0)
    assert recorder.lease_until == 101.5


@pytest.mark.parametrize("message", [b"", b"\xc1", b"\x90", b"\x98" + b"\x01" * 8])
def test_what_is_no_news_is_ignored(message: bytes) -> None:
    assert decode_news(message) is None
