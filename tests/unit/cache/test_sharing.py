"""Equal parts of what is remembered are one object, and nothing else about it changes."""

import msgspec
import pytest

from sidecar.cache import sharing
from sidecar.cache.memory import Memory
from sidecar.cache.sharing import Sharing
from sidecar.model.facts import RoleGrant, Session, User
from sidecar.model.need import SessionNeed, UserNeed
from sidecar.model.shard import shard_of
from sidecar.settings.schema import Cache

NOW = 1_000.0


def decoded_user(subject: str, *roles: str, tenant: str = "acme") -> User:
    """As a store gives it: nothing in it is shared with anybody."""
    user = User(
        version=1, tenant=tenant, subject=subject, roles=tuple(RoleGrant(role) for role in roles)
    )
    return msgspec.msgpack.decode(msgspec.msgpack.encode(user), type=User)


def decoded_session(subject: str) -> Session:
    session = Session(version=0, id="one", tenant="acme", subject=subject, expires_at=1.5)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(session), type=Session)


def test_what_memory_keeps_shares_its_parts() -> None:
    memory = Memory(Cache(), jitter=lambda: 0.5)
    memory.lease_all(NOW + 10)
    sessions = [decoded_session("alice"), decoded_session("bob")]
    users = []
    for number, session in enumerate(sessions):
        memory.put(SessionNeed(bytes([number]) * 32, shard_of("acme")), session, NOW)
        user = decoded_user(session.subject, "reader", "editor")
        need = UserNeed(session.tenant, session.subject)
        memory.put(need, user, NOW)
        assert memory.find(need, NOW) is user
        users.append(user)
    assert sessions[0].tenant is sessions[1].tenant
    assert users[0].tenant is sessions[0].tenant
    assert users[0].subject is sessions[0].subject
    assert users[0].roles is users[1].roles
    assert users == [
        decoded_user("alice", "reader", "editor"),
        decoded_user("bob", "reader", "editor"),
    ]
    assert sessions == [decoded_session("alice"), decoded_session("bob")]


def test_other_roles_stay_other_roles() -> None:
    shared = Sharing()
    until = User(version=1, tenant="acme", subject="a", roles=(RoleGrant("x", "*", 5.0),))
    never = User(version=1, tenant="acme", subject="b", roles=(RoleGrant("x"),))
    for user in (until, never):
        shared.user(user, UserNeed("acme", user.subject))
    assert until.roles == (RoleGrant("x", "*", 5.0),)
    assert never.roles == (RoleGrant("x"),)


def test_a_user_who_is_not_the_one_asked_for_keeps_its_name() -> None:
    user = decoded_user("mallory", tenant="evil")
    Sharing().user(user, UserNeed("acme", "alice"))
    assert (user.tenant, user.subject) == ("evil", "mallory")


def test_long_lists_are_left_alone() -> None:
    shared, names = Sharing(), [str(each) for each in range(17)]
    one, other = decoded_user("a", *names), decoded_user("b", *names)
    for user in (one, other):
        shared.user(user, UserNeed("acme", user.subject))
    assert one.roles == other.roles
    assert one.roles is not other.roles


def test_what_is_remembered_for_sharing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_MOST", 2)
    shared = Sharing()
    users = [decoded_user("a", role) for role in ("x", "y", "z", "x")]
    for user in users:
        shared.user(user, UserNeed("acme", "a"))
    assert users[0].roles is not users[3].roles, "it began anew"
    assert users[0].roles == users[3].roles
    sessions = [
        Session(version=0, id="i", tenant="".join(each), subject="s", expires_at=1.0)
        for each in ("ab", "cd", "ef", "ab")
    ]
    for session in sessions:
        shared.session(session)
    assert [session.tenant for session in sessions] == ["ab", "cd", "ef", "ab"]
