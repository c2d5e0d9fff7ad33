"""Messages between releases: who is older skips what it does not know, and misses nothing."""

import msgspec

from sidecar.model.change import Change, ChangeKind
from sidecar.sync.keyspace import News, decode_news, encode_news

CHANGE = Change(3, 7, ChangeKind.SESSION, "acme", "ann", 7, b"digest")


class NewsBefore(msgspec.Struct, frozen=True, array_like=True):
    """As the first release read it: without the time of publishing."""

    epoch: int
    shard: int
    seq: int
    kind: ChangeKind
    tenant: str
    subject: str
    version: int
    payload: bytes


def test_an_older_release_reads_what_we_publish() -> None:
    read = msgspec.msgpack.decode(encode_news(CHANGE, 2), type=NewsBefore)
    assert read == NewsBefore(2, *CHANGE)


def test_we_read_what_an_older_release_publishes() -> None:
    assert decode_news(msgspec.msgpack.encode(NewsBefore(2, *CHANGE))) == News(2, *CHANGE, 0)


def test_we_read_what_a_newer_release_publishes() -> None:
    message = msgspec.msgpack.encode((2, *CHANGE, 1_700_000_000_000, "more", {"and": "more"}))
    assert decode_news(message) == News(2, *CHANGE, 1_700_000_000_000)


def test_a_time_that_is_none_makes_no_news() -> None:
    assert decode_news(msgspec.msgpack.encode((2, *CHANGE, "yesterday"))) is None
