"""Identity fields: no name can end a field or forge another."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.authorize.principal import IdentityFields, principal_of
from sidecar.model.facts import Session, VerifiedToken
from sidecar.settings.schema import Identity

FIELDS = IdentityFields(Identity())


@given(
    tenant=st.text(min_size=1),
    subject=st.text(min_size=1),
    roles=st.lists(st.text(min_size=1), min_size=1),
)
def test_every_name_survives_and_none_escapes(tenant: str, subject: str, roles: list[str]) -> None:
    rendered = FIELDS.render(tenant, subject, tuple(roles))
    lines = rendered.split(b"\r\n")
    assert len(lines) == 4
    assert lines.pop() == b""
    assert all(0x20 <= byte < 0x7F for line in lines for byte in line)
    values = [line.decode("ascii").partition(": ")[2] for line in lines]
    assert all(" " not in value for value in values)
    assert [unquote(values[0]), unquote(values[1])] == [subject, tenant]
    assert [unquote(role) for role in values[2].split(",")] == roles


@pytest.mark.parametrize(
    ("subject", "encoded"),
    [
        ("ann@example.org", b"ann@example.org"),
        ("a,b", b"a,b"),
        ("a b%", b"a%20b%25"),
        ("ü\r\nX: y", b"%C3%BC%0D%0AX:%20y"),
        ("\ud800", b"%ED%A0%80"),
    ],
)
def test_how_names_are_written(subject: str, encoded: bytes) -> None:
    assert FIELDS.render("t", subject, ()).startswith(b"X-Auth-User: " + encoded + b"\r\n")


def test_roles_keep_their_comma_to_themselves() -> None:
    rendered = FIELDS.render("t", "s", ("a,b", "c%"))
    assert rendered.endswith(b"X-Auth-Roles: a%2Cb,c%25\r\n")


def test_fields_may_be_left_out_or_renamed() -> None:
    fields = IdentityFields(Identity(user="Remote-User", tenant=None, roles=None))
    assert fields.render("t", "s", ("r",)) == b"Remote-User: s\r\n"
    assert IdentityFields(Identity(user=None, tenant=None)).render("t", "s", ()) == b""


@pytest.mark.parametrize("name", ["", "X Auth", "X-Auth:", "X\r\nY", "Ü"])
def test_a_name_that_is_no_field_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a field name"):
        IdentityFields(Identity(user=name))


def test_principals_of_sessions_and_tokens() -> None:
    session = Session(version=1, id="s1", tenant="t", subject="ann", expires_at=5.0)
    token = VerifiedToken(issuer="i", key_id="k", tenant="t", subject="bob", expires_at=6.0)
    one, two = principal_of(session, ("r",), b"x"), principal_of(token)
    assert (one.credential, one.session_id, one.expires_at) == ("session", "s1", 5.0)
    assert (one.subject, one.roles, one.identity) == ("ann", ("r",), b"x")
    assert (two.credential, two.session_id, two.expires_at) == ("token", "", 6.0)
    assert (two.subject, two.roles, two.identity) == ("bob", (), b"")
