from sidecar.model.explanation import Step, step
from sidecar.model.need import RolesNeed, SessionNeed, TokenNeed, UserNeed


def test_needs_are_described_without_secrets() -> None:
    digest = bytes(range(32))
    assert step(SessionNeed(digest, 3), "redis", 12) == Step("session", "000102030405", "redis", 12)
    assert step(TokenNeed(digest[:16], "hunter2"), "keys") == Step("token", "000102030405", "keys")
    assert step(UserNeed("acme", "alice"), "memory", 1) == Step("user", "acme/alice", "memory", 1)
    assert step(RolesNeed("acme"), "absent") == Step("roles", "acme", "absent", None)
