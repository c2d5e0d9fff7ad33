"""What is measured of the news: lag of what is live, gaps, shards that nobody vouches for."""

from itertools import accumulate

import pytest

from sidecar.cache.following import Beat
from sidecar.model.change import Change, ChangeKind
from sidecar.sync.follower import Follower, Missing
from sidecar.sync.keyspace import News, decode_news, encode_news
from sidecar.sync.watch import Watch
from sidecar.telemetry.meters import BOUNDS
from tests.unit.sync.test_follower import Recorder

NOW = 1_700_000_000.0


def news(seq: int, *, late: float = 0.02, shard: int = 3, epoch: int = 1) -> News:
    """News published `late` seconds ago."""
    published = int((NOW - late) * 1000)
    return News(epoch, shard, seq, ChangeKind.USER, "acme", "ann", seq, b"", published)


@pytest.fixture
def watch() -> Watch:
    return Watch(wall=lambda: NOW)


@pytest.fixture
def follower(watch: Watch) -> Follower:
    recorder = Recorder()
    made = Follower(recorder, recorder, 1.5)
    made.watch = watch
    for shard in range(16):
        made.beaten(shard, 1.0, Beat(0, 1, "one"), 1.0)
    return made


def counted(watch: Watch) -> int:
    return sum(watch.lag.counts)


def test_the_time_from_publishing_to_applying_is_counted(follower: Follower, watch: Watch) -> None:
    follower.apply(news(1, late=0.02), 1.0)
    follower.apply(news(2, late=0.3), 1.0)
    assert counted(watch) == 2
    assert watch.lag.total == pytest.approx(0.32, abs=0.002)
    up_to = dict(zip(BOUNDS, accumulate(watch.lag.counts), strict=False))
    assert (up_to[0.01], up_to[0.025], up_to[0.25], up_to[0.5]) == (0, 1, 1, 2)


def test_a_clock_that_is_ahead_counts_as_no_time_at_all(follower: Follower, watch: Watch) -> None:
    follower.apply(news(1, late=-3.0), 1.0)
    assert (counted(watch), watch.lag.total) == (1, 0.0)


def test_what_is_replayed_or_was_not_published_is_no_lag(follower: Follower, watch: Watch) -> None:
    follower.replay(Missing(3, 1, 2), [news(1, late=60), news(2, late=60)], 1.0)
    follower.apply(news(3, epoch=0), 1.0)
    older = News(1, 3, 4, ChangeKind.USER, "acme", "ann", 4, b"")
    follower.apply(older, 1.0)
    assert follower.watermark(3) == 4
    assert counted(watch) == 0


def test_the_begin_of_an_epoch_is_no_change(follower: Follower, watch: Watch) -> None:
    follower.apply(News(2, 3, 0, ChangeKind.EPOCH, "", "", 0, b"", int(NOW * 1000)), 1.0)
    assert counted(watch) == 0


def test_the_gap_is_that_of_the_shard_that_lacks_most(follower: Follower, watch: Watch) -> None:
    assert watch.gap(follower.watermark) == 0
    follower.beaten(2, 2.0, Beat(5, 1, "one"), 2.0)
    follower.beaten(3, 2.0, Beat(9, 1, "one"), 2.0)
    assert watch.gap(follower.watermark) == 9
    follower.replay(Missing(3, 1, 9), [news(seq) for seq in range(1, 10)], 2.0)
    assert watch.gap(follower.watermark) == 5


def test_news_after_a_hole_show_it_before_the_next_heartbeat(
    follower: Follower, watch: Watch
) -> None:
    follower.apply(news(4), 1.0)
    assert watch.gap(follower.watermark) == 4
    for seq in (1, 2, 3):
        follower.apply(news(seq), 1.0)
    assert watch.gap(follower.watermark) == 0


def test_a_shard_is_suspect_until_redis_vouches_for_it_again(
    follower: Follower, watch: Watch
) -> None:
    assert watch.suspect == 0
    follower.beaten(3, 2.0, None, 2.0)
    follower.beaten(3, 2.5, None, 2.5)
    follower.beaten(4, 2.0, None, 2.0)
    assert watch.suspect == 2
    follower.beaten(3, 3.0, Beat(0, 2, "one"), 3.0)
    assert watch.suspect == 1


def test_a_message_tells_when_it_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.sync.keyspace.wall", lambda: 1_700_000_000.1239)
    heard = decode_news(encode_news(Change(3, 7, ChangeKind.USER, "acme", "ann"), 2))
    assert heard is not None
    assert (heard.epoch, heard.seq, heard.published_ms) == (2, 7, 1_700_000_000_123)
