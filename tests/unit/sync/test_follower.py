"""What news does to memory: watermarks, gaps, epochs, the lease."""

import pytest

from sidecar.cache.following import Beat, Following, Verdict
from sidecar.model.change import ChangeKind
from sidecar.model.need import Need, RolesNeed, SessionNeed, UserNeed
from sidecar.model.shard import SHARDS
from sidecar.sync.follower import Follower, Missing
from sidecar.sync.keyspace import News, decode_news


class Recorder:
    """Stands for memory and flights; writes down what it is told."""

    def __init__(self) -> None:
        self.leases = [0.0] * SHARDS
        self.told: list[tuple[str, object]] = []
        self.latest: dict[int, int] = {}

    @property
    def lease_until(self) -> float:
        return min(self.leases)

    def lease(self, shard: int, until: float) -> None:
        self.leases[shard] = until

    def drop(self, need: Need) -> None:
        self.told.append(("drop", need))

    def drop_tenant(self, tenant: str) -> None:
        self.told.append(("drop_tenant", tenant))

    def flush(self) -> None:
        self.told.append(("flush", None))

    def flush_shard(self, shard: int) -> None:
        self.told.append(("flush_shard", shard))

    def doom(self, need: Need) -> None:
        self.told.append(("doom", need))

    def doom_tenant(self, tenant: str) -> None:
        self.told.append(("doom_tenant", tenant))

    def doom_all(self) -> None:
        self.told.append(("doom_all", None))

    def reached(self, shard: int, seq: int) -> None:
        self.latest[shard] = seq


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def follower(recorder: Recorder) -> Follower:
    """Started: the first head of every shard was 5."""
    started = Follower(recorder, recorder, 1.0)
    for shard in range(SHARDS):
        assert started.beaten(shard, 0.0, Beat(5, 1, "a"), 0.0) is Verdict.STARTED
    recorder.told.clear()
    return started


def news(seq: int, kind: ChangeKind = ChangeKind.USER, *, shard: int = 3) -> News:
    return News(1, shard, seq, kind, "acme", "alice", seq, b"digest")


def renew(follower: Follower, head: int = 5, *, but: int | None = None) -> None:
    for shard in range(SHARDS):
        if shard != but:
            follower.beaten(shard, 10.0, Beat(head, 1, "a"), 10.0)


LEASE = 1.0 * (1 - Following.MARGIN)
FLUSHED: list[tuple[str, object]] = [("flush", None), ("doom_all", None)]
ALICE = UserNeed("acme", "alice")
EFFECTS: dict[ChangeKind, list[tuple[str, object]]] = {
    ChangeKind.USER: [("drop", ALICE), ("doom", ALICE)],
    ChangeKind.ROLES: [("drop", RolesNeed("acme")), ("doom", RolesNeed("acme"))],
    ChangeKind.SESSION: [
        ("drop", SessionNeed(b"digest", 3)),
        ("doom", SessionNeed(b"digest", 3)),
    ],
    ChangeKind.TENANT: [("drop_tenant", "acme"), ("doom_tenant", "acme")],
    ChangeKind.FLUSH: FLUSHED,
    ChangeKind.EPOCH: [],
}


@pytest.mark.parametrize("kind", list(ChangeKind))
def test_each_kind_forgets_and_dooms_what_it_names(
    follower: Follower, recorder: Recorder, kind: ChangeKind
) -> None:
    follower.apply(news(6, kind), 1.0)
    assert recorder.told == EFFECTS[kind]
    assert follower.watermark(3) == (5 if kind is ChangeKind.EPOCH else 6)


def test_every_change_asks_for_its_confirmation(follower: Follower) -> None:
    asked: list[int] = []
    follower.on_applied = asked.append
    follower.apply(news(6), 1.0)
    follower.apply(news(6, ChangeKind.EPOCH, shard=4), 1.0)
    assert asked == [3, 4]


def test_what_is_early_is_applied_at_once_and_what_is_missing_is_asked_for(
    follower: Follower, recorder: Recorder
) -> None:
    follower.apply(news(7), 1.0)
    assert recorder.told == EFFECTS[ChangeKind.USER]
    assert follower.watermark(3) == 5
    assert follower.missing(1.01) == []
    assert follower.missing(1.1) == [Missing(3, 6, 6)]


def test_a_replay_dooms_what_is_read_and_closes_the_gap(
    follower: Follower, recorder: Recorder
) -> None:
    follower.apply(news(8), 1.0)
    recorder.told.clear()
    follower.replay(Missing(3, 6, 7), [news(6), news(7), news(9, shard=4)], 1.1)
    assert recorder.told == [("doom_all", None), *EFFECTS[ChangeKind.USER] * 2]
    assert follower.watermark(3) == 8
    assert follower.watermark(4) == 5, "a replay speaks of one shard"


def test_what_cannot_be_replayed_is_made_up_for_by_forgetting_the_shard(
    follower: Follower, recorder: Recorder
) -> None:
    follower.apply(news(8), 1.0)
    recorder.told.clear()
    follower.replay(Missing(3, 6, 7), [news(7)], 1.1)
    assert recorder.told[0] == ("doom_all", None), "before anything is put in memory again"
    assert recorder.told[-1] == ("flush_shard", 3)
    assert (follower.watermark(3), follower.resyncs["lost"]) == (8, 1)


def test_each_shard_has_a_lease_of_its_own(follower: Follower, recorder: Recorder) -> None:
    renew(follower, but=7)
    assert recorder.lease_until == 0.0
    assert recorder.leases[8] == pytest.approx(10.0 + LEASE)
    assert not follower.is_leased(10.1), "all of memory only with all of them"
    follower.beaten(7, 10.2, Beat(5, 1, "a"), 10.3)
    assert recorder.lease_until == pytest.approx(10.0 + LEASE)
    assert follower.is_leased(10.5)
    assert not follower.is_leased(11.0)


def test_a_subscription_ends_the_lease_until_the_next_heartbeat(
    follower: Follower, recorder: Recorder
) -> None:
    renew(follower)
    recorder.told.clear()
    follower.resubscribed()
    assert recorder.lease_until == 0.0
    assert recorder.told == [], "what is remembered is not forgotten"
    renew(follower)
    assert recorder.lease_until > 0
    follower.resubscribed([3, 4])
    assert [shard for shard, until in enumerate(recorder.leases) if not until] == [3, 4]


def test_a_new_epoch_dooms_reads_and_keeps_memory(follower: Follower, recorder: Recorder) -> None:
    assert follower.beaten(3, 10.0, Beat(5, 2, "a"), 10.0) is Verdict.NEW_EPOCH
    assert recorder.told == [("doom_all", None)]


def test_a_new_incarnation_flushes(follower: Follower, recorder: Recorder) -> None:
    renew(follower)
    recorder.told.clear()
    assert follower.beaten(3, 11.0, Beat(2, 2, "b"), 11.0) is Verdict.FLUSH
    assert recorder.told == FLUSHED
    assert recorder.lease_until == 0.0


def test_an_impossible_shard_is_ignored(follower: Follower, recorder: Recorder) -> None:
    follower.apply(news(7, shard=16), 1.0)
    follower.apply(news(7, shard=-1), 1.0)
    assert recorder.told == []


@pytest.mark.parametrize("message", [b"", b"\xc1", b"\x90", b"\x98" + b"\x01" * 8])
def test_what_is_no_news_is_ignored(message: bytes) -> None:
    assert decode_news(message) is None
