"""Keys are judged when they are loaded (PROMISES 8)."""

import json
from typing import Any

import pytest

from sidecar.authenticate.keys import KeysError, parse_jwks
from tests.unit.authenticate.signing import edwards, elliptic, public, rsa

ALL = ("RS256", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")


@pytest.mark.parametrize(
    ("entry", "algorithms"),
    [
        (public(rsa()), {"RS256", "PS512"}),
        (public(rsa(), alg="RS256"), {"RS256"}),
        (public(rsa(), use="sig", key_ops=["verify"]), {"RS256", "PS512"}),
        (public(elliptic("P-256")), {"ES256"}),
        (public(elliptic("P-384")), {"ES384"}),
        (public(elliptic("P-521"), alg="ES512"), {"ES512"}),
        (public(edwards()), {"Ed25519", "EdDSA"}),
    ],
)
def test_usable_keys(entry: dict[str, Any], algorithms: set[str]) -> None:
    document = {"keys": [{**entry, "kid": "k"}]}
    found = parse_jwks(document, ALL, issuer="https://id", fetched=5.0)
    assert (found.issuer, found.fetched, found.refused) == ("https://id", 5.0, ())
    assert found.keys["k"].algorithms == algorithms
    assert not found.keys["k"].key.is_private


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("text", "not an object"),
        ({}, "not an asymmetric key"),
        ({"kty": ["RSA"]}, "not an asymmetric key"),
        ({"kty": "oct", "k": "AAAA"}, "not an asymmetric key"),
        (rsa().as_dict(private=True), "private key"),
        (elliptic().as_dict(private=True), "private key"),
        (public(rsa(), kid=7), "key id"),
        (public(rsa(), kid="x" * 256), "key id"),
        (public(rsa(), use="enc"), "use"),
        (public(rsa(), key_ops=["encrypt"]), "key_ops"),
        (public(rsa(), key_ops="verify"), "key_ops"),
        (public(rsa(), alg="ES256"), "none of the algorithms"),
        (public(rsa(), alg="RS384"), "none of the algorithms"),
        (public(elliptic("P-256"), alg="ES384"), "none of the algorithms"),
        (public(elliptic("P-256"), crv="secp256k1"), "none of the algorithms"),
        (public(edwards("Ed448")), "none of the algorithms"),
        (public(edwards("X25519")), "none of the algorithms"),
        (public(rsa(1024)), "RSA with 1024 bits"),
        (public(rsa(), n="AA", e="AQ"), "not a valid key"),
        (public(rsa(), n=None), "not a valid key"),
        ({"kty": "RSA"}, "not a valid key"),
        (public(elliptic("P-256"), x="AAAA"), "not a valid key"),
        (public(edwards(), x="AAAA"), "not a valid key"),
    ],
)
def test_keys_that_are_left_out(entry: Any, message: str) -> None:
    good = public(rsa(2048, 1), kid="good")
    found = parse_jwks({"keys": [entry, good]}, ALL)
    assert list(found.keys) == ["good"]
    assert len(found.refused) == 1
    assert found.refused[0].startswith("keys[0]: ")
    assert message in found.refused[0]


def test_keys_of_one_id_are_all_left_out() -> None:
    keys = [public(rsa(), kid="k"), public(elliptic(), kid="k"), public(edwards(), kid="k")]
    found = parse_jwks({"keys": keys}, ALL)
    assert found.keys == {}
    assert len(found.refused) == 2


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b"\xff",
        b'{"keys": ' + b"[" * 100_000,
        json.dumps({"keys": [{}] * 65}).encode(),
    ],
)
def test_documents_that_are_no_key_set(document: bytes) -> None:
    with pytest.raises(KeysError):
        parse_jwks(document, ALL)


def test_a_document_as_bytes() -> None:
    document = json.dumps({"keys": [public(elliptic())], "more": 1}).encode()
    assert list(parse_jwks(document, ALL).keys) == [""]
