"""Memory: what may be used when, and what is forgotten."""

import pytest

from sidecar.cache.memory import Memory
from sidecar.model.decision import Denial
from sidecar.model.facts import RoleGraph, Session, User, VerifiedToken
from sidecar.model.need import ABSENT, Found, Need, RolesNeed, SessionNeed, TokenNeed, UserNeed
from sidecar.model.reason import Reason
from sidecar.model.shard import SHARDS, shard_of
from sidecar.settings.schema import Cache

SESSION = SessionNeed(b"d" * 32, shard_of("acme"))
TOKEN = TokenNeed(b"k" * 16, "a.b.c")
ANN = UserNeed("acme", "ann")
ROLES = RolesNeed("acme")


def user(version: int = 1) -> User:
    return User(version=version, tenant="acme", subject="ann")


def token(key_id: str = "k1", issuer: str = "https://id") -> VerifiedToken:
    return VerifiedToken(issuer=issuer, key_id=key_id, tenant="acme", subject="ann", expires_at=1e9)


FACTS: list[tuple[Need, Found]] = [
    (SESSION, Session(version=1, id="s", tenant="acme", subject="ann", expires_at=1e9)),
    (ANN, user()),
    (ROLES, RoleGraph(version=1, tenant="acme")),
    (TOKEN, token()),
]


@pytest.fixture
def memory() -> Memory:
    made = Memory(Cache(), jitter=lambda: 0.5)
    made.lease_all(10_000.0)
    return made


@pytest.mark.parametrize(("need", "fact"), FACTS)
def test_what_was_put_is_found(memory: Memory, need: Need, fact: Found) -> None:
    memory.put(need, fact, 0.0)
    assert memory.find(need, 1.0) is fact


@pytest.mark.parametrize(("need", "fact"), FACTS)
def test_facts_of_the_stores_need_the_lease(memory: Memory, need: Need, fact: Found) -> None:
    memory.put(need, fact, 0.0)
    memory.lease_all(1.0)
    assert memory.find(need, 0.9) is fact
    assert (memory.find(need, 1.0) is fact) is (need is TOKEN)


@pytest.mark.parametrize("need", [SESSION, ANN, ROLES])
def test_absence_needs_the_lease_too(memory: Memory, need: Need) -> None:
    memory.put(need, ABSENT, 0.0)
    assert memory.find(need, 1.0) is ABSENT
    memory.lease_all(1.0)
    assert memory.find(need, 1.0) is None


def test_each_tenant_needs_the_lease_of_its_own_shard(memory: Memory) -> None:
    here, there = UserNeed("acme", "ann"), UserNeed("other", "ann")
    assert shard_of("acme") != shard_of("other")
    memory.put(here, user(), 0.0)
    memory.put(there, ABSENT, 0.0)
    memory.lease(shard_of("acme"), 1.0)
    assert (memory.find(here, 1.0), memory.find(there, 1.0)) == (None, ABSENT)
    assert (memory.lease_until, memory.leased_shards(1.0)) == (1.0, SHARDS - 1)
    memory.lease(shard_of("acme"), 2.0)
    memory.lease(shard_of("other"), 1.0)
    assert memory.find(here, 1.0) == user(), "it was only not used"
    assert memory.find(there, 1.0) is None
    assert memory.is_leased(shard_of("acme"), 1.0)
    assert not memory.is_leased(shard_of("other"), 1.0)
    counted = memory.statistics()
    assert (counted.users.hits, counted.users.misses) == (1, 3), "not used is a miss"
    assert (counted.negative.hits, counted.negative.misses) == (1, 1)


def test_a_shard_is_forgotten_without_the_others(memory: Memory) -> None:
    session = SessionNeed(b"other", shard_of("other"))
    for need in (*(need for need, _ in FACTS), UserNeed("other", "bob"), session):
        memory.put(need, ABSENT, 0.0)
    for need, fact in FACTS:
        memory.put(need, fact, 0.0)
    memory.flush_shard(shard_of("acme"))
    assert memory.find(TOKEN, 0.0) is not None
    assert memory.find(UserNeed("other", "bob"), 0.0) is ABSENT
    assert memory.find(session, 0.0) is ABSENT
    assert [memory.find(need, 0.0) for need in (SESSION, ANN, ROLES)] == [None] * 3


def test_without_a_first_lease_nothing_is_used() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5)
    memory.put(ANN, user(), 0.0)
    assert memory.find(ANN, 0.0) is None


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 54.0), (0.5, 60.0), (1.0, 66.0)])
def test_entries_expire_after_writing_with_jitter(chance: float, seconds: float) -> None:
    memory = Memory(Cache(entry_seconds=60.0), jitter=lambda: chance)
    memory.lease_all(1e6)
    memory.put(ANN, user(), 100.0)
    assert memory.find(ANN, 100.0 + seconds - 0.01) is not None
    assert memory.find(ANN, 100.0 + seconds + 0.01) is None
    assert memory.statistics().users.misses == 1, "it is still there, and not used"


def test_reading_does_not_prolong(memory: Memory) -> None:
    memory.put(ANN, user(), 0.0)
    for instant in range(60):
        assert memory.find(ANN, float(instant)) is not None
    assert memory.find(ANN, 60.0) is None


def test_refusals_and_absences_live_shortly(memory: Memory) -> None:
    refused = Denial(Reason.BAD_SIGNATURE)
    memory.put(TOKEN, refused, 0.0)
    memory.put(ANN, ABSENT, 0.0)
    assert memory.find(TOKEN, 2.9) is refused
    assert memory.find(ANN, 2.9) is ABSENT
    assert memory.find(TOKEN, 3.1) is None
    assert memory.find(ANN, 3.1) is None
    assert memory.statistics().negative.entries == 0


@pytest.mark.parametrize("reason", [Reason.TOKEN_NOT_YET_VALID, Reason.STORES_UNAVAILABLE])
def test_what_may_be_over_in_a_moment_is_not_kept(memory: Memory, reason: Reason) -> None:
    memory.put(TOKEN, Denial(reason), 0.0)
    assert memory.find(TOKEN, 0.0) is None


def test_an_older_version_is_ignored(memory: Memory) -> None:
    newer, same = user(5), user(5)
    memory.put(ANN, newer, 0.0)
    memory.put(ANN, user(4), 0.0)
    assert memory.find(ANN, 1.0) is newer
    memory.put(ANN, same, 50.0)
    assert memory.find(ANN, 100.0) is newer, "the same fact keeps what was compiled from it"


def test_absence_replaces_the_fact_and_the_fact_the_absence(memory: Memory) -> None:
    memory.put(ANN, user(), 0.0)
    memory.put(ANN, ABSENT, 0.0)
    assert memory.find(ANN, 1.0) is ABSENT
    found = user()
    memory.put(ANN, found, 1.0)
    assert memory.find(ANN, 1.0) is found
    memory.drop(ANN)
    assert memory.find(ANN, 1.0) is None


def test_without_negative_entries_absence_still_removes_the_fact() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5, negative=False)
    memory.lease_all(10.0)
    memory.put(ANN, user(), 0.0)
    memory.put(ANN, ABSENT, 0.0)
    memory.put(TOKEN, Denial(Reason.BAD_SIGNATURE), 0.0)
    assert memory.find(ANN, 1.0) is None
    assert memory.find(TOKEN, 1.0) is None


def test_turned_off_it_finds_nothing() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5, enabled=False)
    memory.lease_all(10.0)
    for need, fact in FACTS:
        memory.put(need, fact, 0.0)
        assert memory.find(need, 0.0) is None


@pytest.mark.parametrize(("need", "fact"), FACTS)
def test_drop_forgets_fact_and_absence(memory: Memory, need: Need, fact: Found) -> None:
    memory.put(need, fact, 0.0)
    memory.drop(need)
    assert memory.find(need, 0.0) is None
    memory.put(need, ABSENT, 0.0)
    memory.drop(need)
    assert memory.find(need, 0.0) is None


def test_a_session_is_dropped_by_its_digest(memory: Memory) -> None:
    memory.put(*FACTS[0], 0.0)
    memory.drop(SESSION)
    assert memory.find(SESSION, 0.0) is None


def test_a_tenant_is_dropped_with_its_users_only(memory: Memory) -> None:
    other = UserNeed("other", "ann")
    gone = UserNeed("acme", "gone")
    for need in (ANN, other):
        memory.put(need, user(), 0.0)
    memory.put(gone, ABSENT, 0.0)
    memory.put(ROLES, RoleGraph(version=1, tenant="acme"), 0.0)
    memory.drop_tenant("acme")
    found = [memory.find(need, 0.0) is not None for need in (ANN, gone, ROLES, other)]
    assert found == [False, False, False, True]


def test_a_removed_key_ends_its_tokens(memory: Memory) -> None:
    kept, gone, foreign = (TokenNeed(bytes((n,)) * 16, "a.b.c") for n in range(3))
    memory.put(kept, token("new"), 0.0)
    memory.put(gone, token("old"), 0.0)
    memory.put(foreign, token("old", "https://other"), 0.0)
    memory.drop_tokens_of_key("https://id", {"new"})
    assert [memory.find(need, 0.0) is not None for need in (kept, gone, foreign)] == [
        True,
        False,
        True,
    ]


def test_new_keys_end_refusals_they_may_turn_around(memory: Memory) -> None:
    unknown, expired = TokenNeed(b"u" * 16, "a.b.c"), TokenNeed(b"e" * 16, "a.b.c")
    memory.put(unknown, Denial(Reason.UNKNOWN_KEY), 0.0)
    memory.put(expired, Denial(Reason.TOKEN_EXPIRED), 0.0)
    memory.put(ANN, ABSENT, 0.0)
    memory.drop_tokens_of_key("https://id", set())
    assert memory.find(unknown, 0.0) is None
    assert memory.find(expired, 0.0) is not None
    assert memory.find(ANN, 0.0) is ABSENT


def test_flush_forgets_all(memory: Memory) -> None:
    for need, fact in FACTS:
        memory.put(need, fact, 0.0)
    memory.flush()
    assert all(memory.find(need, 0.0) is None for need, _ in FACTS)


def test_a_user_called_as_a_need_is_not_that_need(memory: Memory) -> None:
    namesake = UserNeed("acme", "roles")
    assert tuple(namesake) != tuple(ROLES)
    memory.put(namesake, ABSENT, 0.0)
    assert memory.find(ROLES, 0.0) is None


def test_a_flood_of_bad_tokens_evicts_no_good_one() -> None:
    memory = Memory(Cache(tokens=10, negative=10), jitter=lambda: 0.5)
    memory.put(TOKEN, token(), 0.0)
    for number in range(1_000):
        need = TokenNeed(number.to_bytes(16, "big"), "x.y.z")
        memory.put(need, Denial(Reason.BAD_SIGNATURE), 0.0)
    assert memory.find(TOKEN, 1.0) is not None
    assert memory.statistics().negative.entries == 10
    assert memory.statistics().negative.evictions == 990


def test_statistics_count_what_was_of_use(memory: Memory) -> None:
    memory.put(ANN, user(), 0.0)
    memory.find(ANN, 1.0)
    memory.find(ANN, 100.0)
    memory.find(SESSION, 1.0)
    counted = memory.statistics()
    assert (counted.users.hits, counted.users.misses) == (1, 1)
    assert (counted.sessions.hits, counted.sessions.misses) == (0, 1)


def test_what_is_in_use_falls_due_once_before_it_expires(memory: Memory) -> None:
    memory.put(ANN, user(), 0.0)
    memory.put(TOKEN, token(), 0.0)
    assert memory.find(ANN, 47.9) is not None
    assert memory.take_due(10) == []
    for _ in range(3):
        assert memory.find(ANN, 48.1) is not None
        assert memory.find(TOKEN, 48.1) is not None
    assert memory.take_due(10) == [ANN], "tokens do not change"
    assert memory.take_due(10) == []
    assert memory.find(ANN, 59.9) is not None
    memory.put(ANN, user(2), 59.9)
    assert memory.find(ANN, 61.0) == user(2)


def test_what_is_not_used_expires() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5, ahead=False)
    memory.lease_all(10_000.0)
    memory.put(ANN, user(), 0.0)
    assert memory.find(ANN, 59.0) is not None
    assert memory.take_due(10) == []
    assert memory.find(ANN, 60.1) is None


def test_a_sample_is_of_facts_that_have_a_version(memory: Memory) -> None:
    memory.put(SESSION, FACTS[0][1], 0.0)
    memory.put(ROLES, RoleGraph(version=1, tenant="acme"), 0.0)
    memory.put(UserNeed("acme", "nobody"), ABSENT, 0.0)
    ann = user()
    memory.put(ANN, ann, 0.0)
    assert {need for need, _ in memory.sample(5, 0.0)} == {ANN, ROLES}
    assert len(memory.sample(5, 0.99)) <= 2
    assert memory.holds(ANN, ann)
    assert not memory.holds(ANN, user())


# -- Last known good ----------------------------------------------------------------------------


@pytest.mark.parametrize(("need", "fact"), FACTS)
def test_what_expired_is_recalled_for_a_while(memory: Memory, need: Need, fact: Found) -> None:
    memory.put(need, fact, 0.0)
    assert memory.find(need, 60.0) is None
    recalled = memory.recall(need, 69.9, 10.0)
    assert recalled is not None
    assert recalled.fact is fact
    assert recalled.ended == 60.0
    assert memory.recall(need, 70.0, 10.0) is None


@pytest.mark.parametrize("need", [SESSION, ANN, ROLES])
def test_without_a_lease_it_is_recalled_from_its_end_on(memory: Memory, need: Need) -> None:
    fact = dict(FACTS)[need]
    memory.put(need, fact, 0.0)
    memory.lease_all(20_000.0)
    memory.lease_all(20_000.0)
    memory.put(need, fact, 19_990.0)
    recalled = memory.recall(need, 20_005.0, 10.0)
    assert recalled is not None
    assert recalled.ended == 20_000.0
    assert memory.find(need, 20_005.0) is None
    assert memory.recall(need, 20_010.0, 10.0) is None


def test_of_a_lease_that_ended_early_its_proof_counts(memory: Memory) -> None:
    """Nobody says when a lease is lapsed; the heartbeat that proved it was sent before."""
    memory.put(ANN, user(), 9_990.0)
    for _ in range(2):
        memory.lease(shard_of("acme"), 0.0)
    recalled = memory.recall(ANN, 9_999.0, 10.0)
    assert recalled is not None
    assert recalled.ended == 10_000.0 - Cache().lease_seconds
    memory.lease(shard_of("acme"), 10_001.0)
    again = memory.recall(ANN, 10_002.0, 10.0)
    assert again is not None
    assert again.ended == 10_001.0


def test_what_was_never_leased_is_not_recalled() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5)
    # The machine has just been started: its clock is near 0.
    memory.put(ANN, user(), 1.0)
    memory.lease(shard_of("acme"), 0.0)
    assert memory.recall(ANN, 1.0, 3_600.0) is None


@pytest.mark.parametrize(("need", "fact"), FACTS)
def test_what_was_dropped_is_not_recalled(memory: Memory, need: Need, fact: Found) -> None:
    def forget_none() -> None:
        memory.take_due(1)

    def tenant() -> None:
        memory.drop_tenant("acme")
        memory.drop(SESSION)
        memory.drop_tokens_of_key("https://id", set())

    ways = [lambda: memory.drop(need), memory.flush, tenant]
    if need is not TOKEN:
        ways.append(lambda: memory.flush_shard(shard_of("acme")))
    for way in (forget_none, *ways):
        memory.put(need, fact, 0.0)
        way()
        assert (memory.recall(need, 61.0, 10.0) is None) is (way is not forget_none)


@pytest.mark.parametrize("need", [SESSION, ANN, ROLES, TOKEN])
def test_refusals_and_absences_are_never_recalled(memory: Memory, need: Need) -> None:
    memory.put(need, dict(FACTS)[need], 0.0)
    memory.put(need, Denial(Reason.BAD_SIGNATURE) if need is TOKEN else ABSENT, 0.0)
    assert memory.find(need, 1.0) is not None
    assert memory.recall(need, 1.0, 10.0) is None
    assert memory.find(need, 4.0) is None
    assert memory.recall(need, 4.0, 10.0) is None


def test_what_expired_stays_within_the_bound_of_its_region() -> None:
    memory = Memory(Cache(users=10), jitter=lambda: 0.5)
    memory.lease_all(1e6)
    for number in range(100):
        memory.put(UserNeed("acme", f"u{number}"), user(), 100.0 * number)
    assert memory.statistics().users.entries == 10


def test_what_expired_and_has_not_changed_is_the_same_object_again(memory: Memory) -> None:
    known = user(5)
    memory.put(ANN, known, 0.0)
    assert memory.find(ANN, 61.0) is None
    memory.put(ANN, user(4), 61.0)
    assert memory.find(ANN, 61.0) is None, "older than what is known"
    memory.put(ANN, user(5), 61.0)
    assert memory.find(ANN, 62.0) is known


# -- Lifetimes ----------------------------------------------------------------------------------


def busy(memory: Memory, seconds: int) -> None:
    """Each second a user is read anew and has changed: found so, or told by the news."""
    for second in range(seconds):
        memory.put(ANN, user(second + 1), float(second))
        if second % 2:
            memory.drop(ANN)


def test_the_lifetime_of_a_kind_follows_its_changes(memory: Memory) -> None:
    busy(memory, 300)
    for second in range(300):
        memory.put(ROLES, FACTS[2][1], float(second))
    seconds = memory.lifetimes()
    assert seconds["user"] == Cache().shortest_entry_seconds
    assert seconds["session"] == 60.0
    assert seconds["roles"] > 60.0
    memory.put(ANN, user(1_000), 300.0)
    assert memory.find(ANN, 314.9) is not None
    assert memory.find(ANN, 315.1) is None


def test_sessions_that_end_count_as_changes_too(memory: Memory) -> None:
    for second in range(300):
        memory.put(SESSION, FACTS[0][1], float(second))
        memory.drop(SESSION)
        memory.put(SESSION, FACTS[0][1], float(second))
        memory.put(SESSION, ABSENT, float(second))
    assert memory.lifetimes()["session"] == Cache().shortest_entry_seconds


def test_what_was_not_there_has_not_changed(memory: Memory) -> None:
    for second in range(300):
        memory.put(ROLES, ABSENT, float(second))
        memory.drop(ROLES)
        memory.drop(SESSION)
    assert set(memory.lifetimes().values()) == {60.0}


def test_without_a_lease_stillness_says_nothing() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5)
    for second in range(0, 3600, 10):
        memory.put(ROLES, FACTS[2][1], float(second))
    assert memory.lifetimes()["roles"] == 60.0


def test_turned_off_lifetimes_are_fixed() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5, adaptive=False)
    memory.lease_all(1e6)
    busy(memory, 300)
    assert set(memory.lifetimes().values()) == {60.0}
