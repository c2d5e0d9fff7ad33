"""JWTs: each thing that may be wrong with one is, once (PROMISES 8; RFC 8725)."""

import json
from typing import Any

import msgspec
import pytest

from sidecar.authenticate.keys import KeySet, parse_jwks
from sidecar.authenticate.token import verify
from sidecar.model.decision import Denial
from sidecar.model.facts import VerifiedToken
from sidecar.model.reason import Reason
from sidecar.settings.schema import Issuer, Jwks
from tests.unit.authenticate.signing import Key, edwards, elliptic, encoded, public, rsa, signed

NOW = 1_000_000.0
ALGORITHMS: Any = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
ISSUER = Issuer(
    issuer="https://id",
    audiences=("app", "api"),
    jwks=Jwks(file="f"),
    algorithms=ALGORITHMS,
    tenant="acme",
)
HEADER = {"alg": "ES256", "kid": "ec", "typ": "JWT"}
CLAIMS = {"iss": "https://id", "sub": "ann", "aud": "app", "exp": NOW + 60}
KEYS = parse_jwks(
    {"keys": [public(rsa(), kid="rsa"), public(elliptic(), kid="ec"), public(edwards(), kid="ed")]},
    ALGORITHMS,
    issuer="https://id",
)


def judge(
    compact: str, issuer: Issuer = ISSUER, keyset: KeySet | None = KEYS
) -> VerifiedToken | Denial:
    keysets = {} if keyset is None else {issuer.issuer: keyset}
    return verify(compact, {issuer.issuer: issuer}, keysets, NOW)


def accepted(found: VerifiedToken | Denial) -> VerifiedToken:
    assert isinstance(found, VerifiedToken), found
    return found


def refused(found: VerifiedToken | Denial) -> Reason:
    assert isinstance(found, Denial), found
    return found.reason


def claiming(**changed: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not ...}
    return signed(elliptic(), HEADER, claims)


def heading(**changed: Any) -> str:
    header = {name: value for name, value in {**HEADER, **changed}.items() if value is not ...}
    return signed(elliptic(), header, CLAIMS, "ES256")


@pytest.mark.parametrize(
    ("key", "key_id", "algorithm"),
    [
        (rsa(), "rsa", "RS256"),
        (rsa(), "rsa", "PS256"),
        (elliptic(), "ec", "ES256"),
        (edwards(), "ed", "EdDSA"),
        (edwards(), "ed", "Ed25519"),
    ],
)
def test_each_algorithm_verifies(key: Key, key_id: str, algorithm: str) -> None:
    token = accepted(judge(signed(key, {"alg": algorithm, "kid": key_id}, CLAIMS)))
    assert (token.issuer, token.key_id, token.tenant, token.subject) == (
        "https://id",
        key_id,
        "acme",
        "ann",
    )
    assert (token.expires_at, token.not_before) == (NOW + 60, 0.0)
    assert (token.roles, token.known_users_only) == ((), True)
    assert (set(token.audiences), set(token.scopes)) == ({"app"}, set())


def test_a_changed_part_breaks_the_signature() -> None:
    header, payload, signature = claiming().split(".")
    other = encoded({**CLAIMS, "sub": "root"})
    assert refused(judge(f"{header}.{other}.{signature}")) is Reason.BAD_SIGNATURE
    assert refused(judge(f"{header}.{payload}.{encoded(b'x' * 64)}")) is Reason.BAD_SIGNATURE
    assert refused(judge(f"{header}.{payload}.{encoded(b'x')}")) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "compact",
    [
        "",
        "..",
        "a.b",
        "a.b.c.d",
        "é.b.c",
        claiming() + "=",
        claiming() + "\n",
        claiming().replace(".", ".=", 1),
        "A" + claiming(),
        signed(elliptic(), '["alg"]', CLAIMS, "ES256"),
        signed(elliptic(), '{"alg":"ES256","alg":"ES256"}', CLAIMS, "ES256"),
        signed(elliptic(), HEADER, '{"iss":"https://id","iss":"https://id"}'),
        signed(elliptic(), HEADER, '{"iss":"https://id","exp":NaN}'),
        signed(elliptic(), HEADER, '{"iss":"https://id","a":{"b":1,"b":2}}'),
        signed(elliptic(), HEADER, "\ufeff{}"),
        signed(elliptic(), HEADER, b"\xff"),
        signed(elliptic(), HEADER, "1"),
        signed(elliptic(), HEADER, '{"iss":' + "1" * 5_000 + "}"),
        signed(elliptic(), HEADER, '{"a":' + "[" * 2_500 + "]" * 2_500 + "}"),
        claiming(more="x" * 8_192),
    ],
)
def test_malformed_tokens(compact: str) -> None:
    assert refused(judge(compact)) is Reason.MALFORMED_CREDENTIAL


def test_a_second_encoding_of_the_same_bytes_is_refused() -> None:
    header, payload, signature = signed(edwards(), {"alg": "Ed25519", "kid": "ed"}, CLAIMS).split(
        "."
    )
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sibling = alphabet[alphabet.index(signature[-1]) ^ 1]
    compact = f"{header}.{payload}.{signature[:-1]}{sibling}"
    assert refused(judge(compact)) is Reason.MALFORMED_CREDENTIAL


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c", "crit", "zip", "b64"])
def test_headers_that_bring_their_own_rules(name: str) -> None:
    assert refused(judge(heading(**{name: "x"}))) is Reason.MALFORMED_CREDENTIAL


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "es256", None, ["ES256"], ...])
def test_algorithms_that_are_not_allowed(algorithm: Any) -> None:
    assert refused(judge(heading(alg=algorithm))) is Reason.ALGORITHM_NOT_ALLOWED


def test_an_algorithm_the_key_is_not_for() -> None:
    assert refused(judge(heading(kid="rsa"))) is Reason.ALGORITHM_NOT_ALLOWED


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/AT+JWT", ...])
def test_types_that_are_accepted(kind: Any) -> None:
    assert accepted(judge(heading(typ=kind))).subject == "ann"


@pytest.mark.parametrize("kind", ["dpop+jwt", "logout+jwt", 1, None, "application/"])
def test_types_that_are_not(kind: Any) -> None:
    issuer = msgspec.structs.replace(ISSUER, types=("jwt", "at+jwt"))
    assert refused(judge(heading(typ=kind), issuer)) is Reason.INVALID_CLAIMS


@pytest.mark.parametrize("issuer", ["https://other", "", None, 1, ["https://id"], ...])
def test_issuers_that_are_not_configured(issuer: Any) -> None:
    assert refused(judge(claiming(iss=issuer))) is Reason.UNKNOWN_ISSUER


@pytest.mark.parametrize("key_id", ["new", "", 7, None, ...])
def test_keys_that_are_not_known(key_id: Any) -> None:
    assert refused(judge(heading(kid=key_id))) is Reason.UNKNOWN_KEY


def test_a_single_key_needs_no_id() -> None:
    keyset = parse_jwks({"keys": [public(elliptic(), kid="ec")]}, ALGORITHMS)
    assert accepted(judge(heading(kid=...), keyset=keyset)).key_id == "ec"
    assert refused(judge(heading(kid="other"), keyset=keyset)) is Reason.UNKNOWN_KEY


def test_keys_that_were_not_fetched_yet() -> None:
    assert refused(judge(claiming(), keyset=None)) is Reason.KEYS_UNAVAILABLE


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": ...}, Reason.INVALID_CLAIMS),
        ({"exp": None}, Reason.INVALID_CLAIMS),
        ({"exp": "1"}, Reason.INVALID_CLAIMS),
        ({"exp": True}, Reason.INVALID_CLAIMS),
        ({"exp": -1}, Reason.INVALID_CLAIMS),
        ({"exp": 10**400}, Reason.INVALID_CLAIMS),
        ({"exp": NOW - 5}, Reason.TOKEN_EXPIRED),
        ({"nbf": NOW + 5.1}, Reason.TOKEN_NOT_YET_VALID),
        ({"nbf": "1"}, Reason.INVALID_CLAIMS),
        ({"nbf": None}, Reason.INVALID_CLAIMS),
        ({"iat": NOW + 5.1}, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": []}, Reason.INVALID_CLAIMS),
        ({"aud": ...}, Reason.INVALID_CLAIMS),
        ({"aud": 1}, Reason.INVALID_CLAIMS),
        ({"aud": ["app", 1]}, Reason.INVALID_CLAIMS),
        ({"aud": []}, Reason.WRONG_AUDIENCE),
        ({"aud": "other"}, Reason.WRONG_AUDIENCE),
        ({"sub": ...}, Reason.INVALID_CLAIMS),
        ({"sub": ""}, Reason.INVALID_CLAIMS),
        ({"sub": 1}, Reason.INVALID_CLAIMS),
        ({"sub": "x" * 256}, Reason.INVALID_CLAIMS),
        ({"sub": "a\r\nX-Auth-User: root"}, Reason.INVALID_CLAIMS),
        ({"sub": "a\x85"}, Reason.INVALID_CLAIMS),
        ({"sub": "a\x00"}, Reason.INVALID_CLAIMS),
        ({"sub": "\ud800"}, Reason.INVALID_CLAIMS),
        ({"scope": ["a"]}, Reason.INVALID_CLAIMS),
    ],
)
def test_claims_that_are_wrong(changed: dict[str, Any], reason: Reason) -> None:
    assert refused(judge(claiming(**changed))) is reason


def test_a_number_beyond_floats_is_no_instant() -> None:
    payload = json.dumps(CLAIMS).replace(str(NOW + 60), "1e999")
    assert refused(judge(signed(elliptic(), HEADER, payload))) is Reason.INVALID_CLAIMS


def test_claims_at_the_edge_of_what_is_right() -> None:
    token = accepted(
        judge(
            claiming(
                exp=NOW - 4.9,
                nbf=NOW + 5,
                iat=NOW + 5,
                aud=["x", "api"],
                scope="read  write",
                sub="x" * 255,
            )
        )
    )
    assert token.expires_at == NOW - 4.9
    assert token.not_before == NOW + 5
    assert token.audiences == {"x", "api"}
    assert token.scopes == {"read", "write"}


def test_subjects_have_the_prefix_of_their_issuer() -> None:
    issuer = msgspec.structs.replace(ISSUER, subject_prefix="ext:")
    assert accepted(judge(claiming(), issuer)).subject == "ext:ann"
    assert refused(judge(claiming(sub="x" * 255), issuer)) is Reason.INVALID_CLAIMS


@pytest.mark.parametrize(
    ("claimed", "tenant"), [("a", "a"), ("b", "b"), ("c", None), (["a"], None), (..., None)]
)
def test_the_tenant_may_be_a_claim(claimed: Any, tenant: str | None) -> None:
    issuer = msgspec.structs.replace(ISSUER, tenant=None, tenant_claim="org", tenants=("a", "b"))
    found = judge(claiming(org=claimed), issuer)
    if tenant is None:
        assert refused(found) is Reason.WRONG_TENANT
    else:
        assert accepted(found).tenant == tenant


def test_an_issuer_without_tenant_has_no_subjects() -> None:
    issuer = msgspec.structs.replace(ISSUER, tenant=None)
    assert refused(judge(claiming(), issuer)) is Reason.WRONG_TENANT


@pytest.mark.parametrize(
    ("pointer", "claims", "roles"),
    [
        (None, {"roles": ["a"]}, ()),
        ("/roles", {"roles": ["b", "a", "b"]}, ("a", "b")),
        ("/roles", {}, ()),
        ("/realm/roles", {"realm": {"roles": ["a"]}}, ("a",)),
        ("/realm/roles", {"realm": "x"}, ()),
        ("/all/1", {"all": [[], ["a"]]}, ("a",)),
        ("/all/7", {"all": [[], ["a"]]}, ()),
        ("/https:~1~1x~1roles~0", {"https://x/roles~": ["a"]}, ("a",)),
        ("roles", {"roles": ["a"]}, ()),
    ],
)
def test_roles_by_pointer(pointer: str, claims: dict[str, Any], roles: tuple[str, ...]) -> None:
    issuer = msgspec.structs.replace(ISSUER, roles_claim=pointer, known_users_only=False)
    token = accepted(judge(claiming(**claims), issuer))
    assert (token.roles, token.known_users_only) == (roles, False)


@pytest.mark.parametrize(
    "claimed", ["admin", [1], {"a": 1}, [""], ["a\n"], [f"r{number}" for number in range(257)]]
)
def test_roles_that_are_no_names(claimed: Any) -> None:
    issuer = msgspec.structs.replace(ISSUER, roles_claim="/roles")
    assert refused(judge(claiming(roles=claimed), issuer)) is Reason.INVALID_CLAIMS
