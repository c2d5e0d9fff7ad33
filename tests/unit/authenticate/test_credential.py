"""Exactly one credential decides (PROMISES 4)."""

import pytest

from sidecar.authenticate.credential import LONGEST_TOKEN, CredentialRules
from sidecar.authenticate.opaque import digest, mint, signing_key
from sidecar.model.decision import Denial
from sidecar.model.need import SessionNeed, TokenNeed
from sidecar.model.reason import Reason
from sidecar.settings.schema import Credentials, Issuer, Jwks, SessionCredential
from tests.cases.world import head_of

SECRET = "x" * 32
ISSUER = Issuer(issuer="https://id", audiences=("app",), jwks=Jwks(file="f"), tenant="acme")
TOKEN = mint(5, b"r" * 32, signing_key(SECRET))
SESSION = TOKEN.encode()
JWT = b"aaa.bbb.ccc"

Fields = list[tuple[bytes, bytes]]


def rules(
    session: SessionCredential | None = SessionCredential(),  # noqa: B008  # frozen
    issuers: tuple[Issuer, ...] = (ISSUER,),
) -> CredentialRules:
    return CredentialRules(Credentials(token_key=SECRET, session=session, issuers=issuers))


def find(fields: Fields, made: CredentialRules | None = None) -> SessionNeed | TokenNeed | Denial:
    return (made or rules()).find(head_of("GET", "/", fields=tuple(fields)))


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Cookie", b"sidecar_session=" + SESSION)],
        [(b"Cookie", b"a=b; sidecar_session=" + SESSION + b"; c=d")],
        [(b"Cookie", b"a=b"), (b"Cookie", b"sidecar_session=" + SESSION)],
        [(b"Cookie", b"a=b;sidecar_session\t= " + SESSION + b" ")],
        [(b"Authorization", b"Bearer " + SESSION)],
        [(b"Authorization", b"bEARER  " + SESSION + b" ")],
        [(b"Authorization", b"Bearer " + SESSION), (b"Cookie", b"xsidecar_session=1; a")],
        [(b"Authorization", b"Bearer " + SESSION), (b"Cookie", b"Sidecar_Session=1")],
        [(b"Authorization", b"Bearer " + SESSION), (b"Cookie", b"a=sidecar_session")],
    ],
)
def test_a_session_is_found(fields: Fields) -> None:
    assert find(fields) == SessionNeed(digest(TOKEN), 5)


def test_a_token_is_found_under_a_keyed_digest() -> None:
    found = find([(b"Authorization", b"Bearer " + JWT)])
    other = CredentialRules(Credentials(token_key="y" * 32, issuers=(ISSUER,)))
    assert isinstance(found, TokenNeed)
    assert found.token == "aaa.bbb.ccc"
    assert len(found.key) == 16
    assert found.key != other.token_need(JWT).key
    assert found == rules().token_need(JWT)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([], Reason.NO_CREDENTIAL),
        ([(b"Cookie", b"other=1")], Reason.NO_CREDENTIAL),
        (
            [(b"Cookie", b"sidecar_session=" + SESSION + b"; sidecar_session=" + SESSION)],
            Reason.SEVERAL_CREDENTIALS,
        ),
        (
            [(b"Cookie", b"sidecar_session=" + SESSION), (b"Cookie", b"sidecar_session=x")],
            Reason.SEVERAL_CREDENTIALS,
        ),
        (
            [(b"Cookie", b"sidecar_session=x"), (b"Authorization", b"Basic x")],
            Reason.SEVERAL_CREDENTIALS,
        ),
        (
            [
                (b"Authorization", b"Bearer " + SESSION),
                (b"Cookie", b"sidecar_session=" + SESSION),
            ],
            Reason.SEVERAL_CREDENTIALS,
        ),
        (
            [(b"Authorization", b"Bearer " + JWT), (b"AUTHORIZATION", b"Bearer " + JWT)],
            Reason.SEVERAL_CREDENTIALS,
        ),
        ([(b"Cookie", b"sidecar_session=")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Cookie", b"sidecar_session=\xff")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Cookie", b"sidecar_session")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Cookie", b"sidecar_session=" + JWT)], Reason.MALFORMED_CREDENTIAL),
        ([(b"Cookie", b"sidecar_session=scs1_abc")], Reason.UNKNOWN_SESSION),
        ([(b"Authorization", b"Bearer " + SESSION[:-1] + b"!")], Reason.UNKNOWN_SESSION),
        ([(b"Authorization", b"")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Authorization", b"Bearer")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Authorization", b"Bearer ")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Authorization", b"Basic dTpw")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Authorization", b"Bearer a.b")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Authorization", b"Bearer a.b.c.d")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Authorization", b"Bearer \xe4.b.c")], Reason.MALFORMED_CREDENTIAL),
        ([(b"Authorization", b"Bearer a.b." + b"c" * LONGEST_TOKEN)], Reason.MALFORMED_CREDENTIAL),
    ],
)
def test_anything_else_is_refused(fields: Fields, reason: Reason) -> None:
    found = find(fields)
    assert isinstance(found, Denial)
    assert found.reason is reason


def test_nothing_of_a_credential_is_in_the_detail() -> None:
    found = find([(b"Authorization", b"Basic c2VjcmV0")])
    assert isinstance(found, Denial)
    assert "c2VjcmV0" not in found.detail
    assert "not ours" in found.detail


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (rules(issuers=()), (b"Authorization", b"Bearer " + JWT)),
        (rules(SessionCredential(bearer=False)), (b"Authorization", b"Bearer " + SESSION)),
        (rules(None), (b"Authorization", b"Bearer " + SESSION)),
    ],
)
def test_what_is_not_configured_is_not_accepted(
    made: CredentialRules, field: tuple[bytes, bytes]
) -> None:
    found = find([field], made)
    assert isinstance(found, Denial)
    assert found.reason is Reason.MALFORMED_CREDENTIAL


def test_without_sessions_the_cookie_is_nothing() -> None:
    fields = [(b"Cookie", b"sidecar_session=x"), (b"Authorization", b"Bearer " + JWT)]
    assert isinstance(find(fields, rules(None)), TokenNeed)


def test_the_cookie_has_the_name_of_the_settings() -> None:
    made = rules(SessionCredential(cookie="__Host-s"))
    assert isinstance(find([(b"Cookie", b"__Host-s=" + SESSION)], made), SessionNeed)
    found = find([(b"Cookie", b"sidecar_session=" + SESSION)], made)
    assert isinstance(found, Denial)
    assert found.reason is Reason.NO_CREDENTIAL
