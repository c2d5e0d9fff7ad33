"""Messages between releases, and values of other lives: nothing is missed, nothing mistaken."""

import msgspec
import pytest

from sidecar.model.change import Change, ChangeKind
from sidecar.model.facts import Effect, RoleGrant, Rule, RuleGrant, User
from sidecar.model.need import UserNeed
from sidecar.sync.keyspace import (
    MOST_GRANTS,
    Head,
    News,
    decode_fact,
    decode_news,
    encode_fact,
    encode_news,
)

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


def test_a_value_of_another_life_of_postgresql_is_a_miss() -> None:
    """Sequences and epochs may come a second time after a restore; the incarnation does not."""
    need, fact = UserNeed("acme", "ann"), User(version=5, tenant="acme", subject="ann")
    head = Head(7, 2, 5, "one")
    blob = encode_fact(b"key", fact, head)
    assert blob is not None
    assert decode_fact(b"key", need, blob, head) == fact
    assert decode_fact(b"other", need, blob, head) is None
    assert decode_fact(b"key", need, blob, Head(7, 2, 5, "two")) is None


@pytest.mark.parametrize(("roles", "is_kept"), [(MOST_GRANTS - 10, True), (MOST_GRANTS - 9, False)])
def test_a_user_with_very_many_grants_is_left_to_postgresql(roles: int, *, is_kept: bool) -> None:
    """Decoding them in one piece would stop the loop; both kinds of grants count."""
    need, head = UserNeed("acme", "ann"), Head(7, 2, 5, "one")
    fact = User(
        version=5,
        tenant="acme",
        subject="ann",
        roles=tuple(RoleGrant(f"role-{each}") for each in range(roles)),
        rules=tuple(RuleGrant(Rule(Effect.ALLOW, f"orders:{each}")) for each in range(10)),
    )
    blob = encode_fact(b"key", fact, head)
    assert (blob is not None) == is_kept
    if blob is not None:
        assert decode_fact(b"key", need, blob, head) == fact
